import { describe, expect, test } from "@jest/globals";
import { createLinkRewrite } from "../../../src/downstream/graph/links.ts";
import { apiAt } from "../api-options.ts";
import { call, startApi, startGateway } from "../support.ts";

const MOUNT = "https://gateway.example/graph";
const API = "https://graph.example/v1.0";
const graph = createLinkRewrite(apiAt(0, { baseUrl: API, kind: "graph" }), MOUNT);
const odata = createLinkRewrite(apiAt(0, { baseUrl: API, kind: "odata" }), MOUNT);

describe("a link in a header field", () => {
  test.each([
    [201, "location", `${API}/me/messages('AAMk')`, `${MOUNT}/me/messages('AAMk')`],
    [202, "location", "/teams('1')/operations('2')", `${MOUNT}/teams('1')/operations('2')`],
    [201, "location", "/v1.0/me/events/1", `${MOUNT}/me/events/1`],
    [302, "location", `${API}/me/photo`, `${MOUNT}/me/photo`],
    [200, "content-location", `${API}/users/1?x=y`, `${MOUNT}/users/1?x=y`],
    [202, "operation-location", `${API}/jobs/1`, `${MOUNT}/jobs/1`],
    [202, "azure-asyncoperation", `${API}/operations/1?api-version=1`, `${MOUNT}/operations/1?api-version=1`],
    [204, "odata-entityid", `${API}/accounts(1)`, `${MOUNT}/accounts(1)`],
  ])("of a %i leads back to the gateway: %s: %s", (status, name, link, expected) => {
    expect(graph.fields(status, { [name]: link, "x-other": link })).toEqual({
      [name]: expected,
      "x-other": link,
    });
  });

  test.each([
    [302, "location", "https://cdn.example/download/1"],
    [302, "location", "/elsewhere"],
    [200, "location", "/elsewhere"],
    [201, "location", "//evil.example/v1.0/me"],
    [201, "location", "https://graph.example.evil.example/v1.0/me"],
    [201, "location", "https://graph.example/beta/me"],
    [201, "location", "/v1.0/../beta/me"],
    [201, "location", "/../beta/me"],
    [201, "location", "events/1"],
    [202, "operation-location", "/elsewhere"],
    [200, "link", `<${API}/me>; rel=next`],
  ])("of a %i is left alone: %s: %s", (status, name, link) => {
    const headers = { [name]: link };
    expect(graph.fields(status, headers)).toBe(headers);
  });

  test("relative to the root of the version is Graph's habit alone", () => {
    expect(odata.fields(202, { location: "/teams/1" })).toEqual({ location: "/teams/1" });
    expect(odata.fields(202, { location: "/v1.0/teams/1" })).toEqual({ location: `${MOUNT}/teams/1` });
  });

  test("that stands twice is left alone", () => {
    const headers = { location: [`${API}/a`, `${API}/b`] };
    expect(graph.fields(201, headers)).toBe(headers);
  });
});

test("a poller that follows Location never takes its token past the gateway", async () => {
  const port = await startApi((request, response) => {
    const isStart = request.method === "POST";
    response.writeHead(
      isStart ? 202 : 200,
      isStart ? { location: `http://127.0.0.1:${port}/v1.0/operations/1` } : {},
    );
    response.end(request.url);
  });
  const api = apiAt(port, { kind: "graph" });
  let gatewayPort = 0;
  const gateway = await startGateway({
    api,
    forward: {
      get rewrite() {
        return createLinkRewrite(api, `http://127.0.0.1:${gatewayPort}/graph`);
      },
    },
  });
  gatewayPort = gateway.port;
  const started = await call(gateway.url("/graph/teams"), { method: "POST", body: "{}" });
  expect(started.headers.location).toBe(gateway.url("/graph/operations/1"));
  const polled = await call(String(started.headers.location));
  expect([polled.status, polled.body.toString()]).toEqual([200, "/v1.0/operations/1"]);
});
