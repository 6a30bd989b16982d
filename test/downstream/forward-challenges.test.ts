import http from "node:http";
import { describe, expect, test } from "@jest/globals";
import { apiAt } from "./api-options.ts";
import { bodyOf, call, reply, startApi, startGateway } from "./support.ts";

const CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}';
const CHALLENGE = `Bearer realm="", error="insufficient_claims", claims="${Buffer.from(CLAIMS).toString("base64")}"`;

const tokenFor = (_incoming: http.IncomingMessage, attempt: number) => (attempt === 0 ? "old" : "new");

/** Challenges the old token and echoes the body to the new one. */
const startCapricious = (status = 401) =>
  startApi(async (request, response) => {
    const body = await bodyOf(request);
    if (request.headers.authorization === "Bearer new") {
      response.setHeader("x-length", request.headers["content-length"] ?? "none");
      response.end(body);
    } else {
      response.writeHead(status, { "www-authenticate": CHALLENGE, "x-refusal": "1" }).end('{"error":{}}');
    }
  });

describe("a claims challenge of the API", () => {
  test.each([401, 403])(
    "of status %i reaches the caller of `forward`, and nothing the caller of the gateway",
    async (status) => {
      const gateway = await startGateway({ api: apiAt(await startCapricious(status)), tokenFor });
      const answer = await call(gateway.url("/graph/me"));
      expect(answer.status).toBe(200);
      expect(answer.headers).not.toHaveProperty("x-refusal");
      expect(await gateway.outcomes.next()).toEqual({
        kind: "challenged",
        status,
        claims: CLAIMS,
        replayable: true,
      });
      expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", status: 200 });
    },
  );

  test.each([
    '{"access_token":{},"x":1}',
    '{"access_token":{"nbf":null},"x":[]}',
    '{"x":"y","access_token":{}}',
    '{"access_token":{},"id_token":null}',
  ])(
    "that is no claims request is a failure of the API, and no reason to drop the token: %s",
    async (claims) => {
      const field = `Bearer error="insufficient_claims", claims="${Buffer.from(claims).toString("base64")}"`;
      const port = await startApi((_request, response) => {
        response.writeHead(401, { "www-authenticate": field }).end();
      });
      const gateway = await startGateway({ api: apiAt(port), tokenFor });
      const answer = await call(gateway.url("/graph/me"));
      expect([answer.headers["x-code"], `${answer.body}`]).toEqual([
        "downstream_unreachable",
        "claims_malformed",
      ]);
      // No outcome of the kind "challenged" came before it, on which the token would have been forgotten.
      expect(await gateway.outcomes.next()).toMatchObject({ code: "downstream_unreachable" });
    },
  );

  test("is no challenge under another status", async () => {
    const gateway = await startGateway({ api: apiAt(await startCapricious(400)), tokenFor });
    expect((await call(gateway.url("/graph/me"))).status).toBe(400);
  });

  test("lets a small body be sent again, whether its length was announced or not", async () => {
    const gateway = await startGateway({ api: apiAt(await startCapricious()), tokenFor });
    const announced = await call(gateway.url("/graph/me"), { method: "POST", body: "hello" });
    expect([`${announced.body}`, announced.headers["x-length"]]).toEqual(["hello", "5"]);

    const chunked = http.request(gateway.url("/graph/me"), { method: "POST", agent: false });
    chunked.write("hello, ");
    chunked.end("world");
    expect(`${(await reply(chunked)).body}`).toBe("hello, world");
    for (const kind of ["challenged", "answered", "challenged", "answered"]) {
      expect(await gateway.outcomes.next()).toMatchObject({ kind });
    }
  });

  test("does not let a large body be sent again, and says so", async () => {
    const gateway = await startGateway({ api: apiAt(await startCapricious()), tokenFor });
    const answer = await call(gateway.url("/graph/me"), { method: "POST", body: Buffer.alloc(200_000) });
    expect([answer.status, `${answer.body}`]).toEqual([401, CLAIMS]);
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "challenged", replayable: false });
  });

  test("that is answered by a second one is not tried a third time", async () => {
    let attempts = 0;
    const port = await startApi((_request, response) => {
      attempts++;
      response.writeHead(401, { "www-authenticate": CHALLENGE }).end();
    });
    const gateway = await startGateway({ api: apiAt(port), tokenFor });
    expect((await call(gateway.url("/graph/me"))).status).toBe(401);
    expect(attempts).toBe(2);
  });
});
