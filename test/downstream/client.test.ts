import { once } from "node:events";
import type http from "node:http";
import { Readable } from "node:stream";
import { describe, expect, test } from "@jest/globals";
import { createDownstreamClient, type DownstreamClientOptions } from "../../src/downstream/client.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { apiAt, HELD_BYTES } from "./api-options.ts";
import {
  bodyOf,
  createInbox,
  IN_FLIGHT,
  startApi,
  startRawApi,
  startTorrent,
  TOTAL,
  transportFor,
  untilStalled,
} from "./support.ts";

const CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
const CHALLENGE = `Bearer error="insufficient_claims", claims="${Buffer.from(CLAIMS).toString("base64")}"`;

function clientAt(
  port: number,
  {
    api: apiOverrides = {},
    ...overrides
  }: Partial<Omit<DownstreamClientOptions, "api">> & { api?: Parameters<typeof apiAt>[1] } = {},
) {
  const api = apiAt(port, apiOverrides);
  const asked: (string | undefined)[] = [];
  const client = createDownstreamClient({
    maxBytes: HELD_BYTES,
    transport: transportFor(api),
    api,
    correlationId: "c-1",
    obtainToken: async ({ claims }) => {
      asked.push(claims);
      return { accessToken: new Secret(claims === undefined ? "old" : "new"), expiresAt: 0 };
    },
    ...overrides,
  });
  return { client, asked };
}

/** Answers with what it was asked. */
const echo = (request: http.IncomingMessage, response: http.ServerResponse) =>
  void bodyOf(request).then((body) => {
    const { method, url, headers } = request;
    response.setHeader("content-type", "application/json");
    response.setHeader("set-cookie", "a=b");
    response.end(JSON.stringify({ method, url, headers, body: `${body}` }));
  });

interface Echo {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

describe("a bound client", () => {
  test("asks below the API's base as the user, and hands the answer over as JSON, text or bytes", async () => {
    const { client } = clientAt(await startApi(echo));
    const response = await client.get("/me");
    expect([response.status, response.ok]).toEqual([200, true]);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.has("set-cookie")).toBe(false);
    const asked = await response.json<Echo>();
    expect(asked).toMatchObject({ method: "GET", url: "/v1.0/me", body: "" });
    expect(asked.headers).toMatchObject({
      accept: "application/json",
      authorization: "Bearer old",
      "x-correlation-id": "c-1",
      "client-request-id": "c-1",
    });
    expect(await (await client.get("/me")).text()).toMatch(/^\{"method"/);
    expect((await (await client.get("/me")).bytes())[0]).toBe("{".charCodeAt(0));
  });

  test.each(["post", "put", "patch"] as const)(
    "sends JSON, text, bytes and streams with %s",
    async (method) => {
      const { client } = clientAt(await startApi(echo));
      const sent = async (options: Parameters<typeof client.post>[1]) =>
        (await client[method]("/me", options)).json<Echo>();
      const json = await sent({ json: { a: "\u00e9" } });
      expect(json).toMatchObject({ method: method.toUpperCase(), body: '{"a":"\u00e9"}' });
      expect(json.headers).toMatchObject({ "content-type": "application/json", "content-length": "10" });
      expect(await sent({ body: "text", headers: { "Content-Type": "text/plain" } })).toMatchObject({
        body: "text",
      });
      expect(await sent({ body: Uint8Array.of(104, 105) })).toMatchObject({ body: "hi" });
      expect(await sent({ body: Readable.from(["a", "b"]) })).toMatchObject({
        body: "ab",
        headers: { "transfer-encoding": "chunked" },
      });
    },
  );

  test("deletes without a body, and reads an empty answer as empty", async () => {
    const { client } = clientAt(await startApi((_request, response) => response.writeHead(204).end()));
    const response = await client.delete("/me/messages/1");
    expect([response.status, await response.text()]).toEqual([204, ""]);
  });

  test("cannot be made to say what only the gateway says", async () => {
    const { client } = clientAt(await startApi(echo));
    const { headers } = await (
      await client.get("/me", {
        headers: {
          Authorization: "Bearer x",
          Host: "evil.example",
          Connection: "authorization",
          "X-Own": "1",
        },
      })
    ).json<Echo>();
    expect(headers).toMatchObject({ authorization: "Bearer old", "x-own": "1" });
    expect(headers.host).not.toBe("evil.example");
  });

  test.each([404, 409, 429, 500, 302, 401, 403])("hands over a %i as a result", async (status) => {
    const port = await startApi((_request, response) => {
      response.writeHead(status, { "retry-after": "3", location: "https://elsewhere.example" }).end("why");
    });
    const response = await clientAt(port).client.get("/me");
    expect([response.status, response.ok, await response.text()]).toEqual([status, false, "why"]);
    expect(response.headers.get("retry-after")).toBe("3");
  });
});

describe("an answer", () => {
  test("that is not read comes to a halt at the API, and goes on when it is", async () => {
    const { port, taken } = await startTorrent();
    const response = await clientAt(port).client.get("/big");
    expect(await untilStalled(taken)).toBeLessThan(IN_FLIGHT);
    let received = 0;
    for await (const piece of response.body as AsyncIterable<Buffer>) received += piece.length;
    expect(received).toBe(TOTAL);
  });
});

describe("a path", () => {
  test.each<
    [path: string | string[], query: Record<string, string | number | boolean | undefined>, url: string]
  >([
    ["/me", {}, "/v1.0/me"],
    ["/me?$top=1", {}, "/v1.0/me?$top=1"],
    [
      "/me",
      { $select: "id,mail", $top: 5, $count: true, $skip: undefined },
      "/v1.0/me?$select=id%2Cmail&$top=5&$count=true",
    ],
    ["/me?a=1", { "b&c": "d e/?#=" }, "/v1.0/me?a=1&b%26c=d%20e%2F%3F%23%3D"],
    [["users", "a@b.c", "messages"], {}, "/v1.0/users/a%40b.c/messages"],
    [["me", "drive", "root:", "a b%.txt:", "content"], {}, "/v1.0/me/drive/root%3A/a%20b%25.txt%3A/content"],
  ])("%j with %j is asked for as %s", async (path, query, url) => {
    const { client } = clientAt(await startApi(echo));
    expect(await (await client.get(path, { query })).json<Echo>()).toMatchObject({ url });
  });

  test.each<[string | string[], string]>([
    ["me", "request_malformed"],
    ["https://evil.example/me", "request_malformed"],
    ["//evil.example/me", "target_forbidden"],
    ["/../beta/me", "target_forbidden"],
    ["/users/%2e%2e/x", "target_forbidden"],
    ["/users/a%2fb", "request_malformed"],
    ["/me#x", "request_malformed"],
    ["/me\r\nx: y", "request_malformed"],
    [["users", "..", "me"], "target_forbidden"],
    [["users", "a/../../me"], "request_malformed"],
    [["users", ""], "target_forbidden"],
    [["users", "a\0"], "request_malformed"],
  ])("%j is refused before a token is asked for", async (path, code) => {
    const { client, asked } = clientAt(1);
    await expect(client.get(path)).rejects.toMatchObject({ code });
    expect(asked).toEqual([]);
  });
});

describe("a claims challenge", () => {
  const startCapricious = () =>
    startApi((request, response) => {
      if (request.headers.authorization === "Bearer new") echo(request, response);
      else response.writeHead(401, { "www-authenticate": CHALLENGE }).end();
    });

  test("is answered by one new exchange and the same request again", async () => {
    const { client, asked } = clientAt(await startCapricious());
    expect(await (await client.post("/me", { json: [1] })).json<Echo>()).toMatchObject({ body: "[1]" });
    expect(asked).toEqual([undefined, CLAIMS]);
  });

  test("goes to the user when the new token is refused too", async () => {
    let requests = 0;
    const port = await startApi((_request, response) => {
      requests++;
      response.writeHead(403, { "www-authenticate": CHALLENGE }).end();
    });
    const { client, asked } = clientAt(port);
    await expect(client.get("/me")).rejects.toMatchObject({ code: "claims_challenged", claims: CLAIMS });
    expect([requests, asked.length]).toEqual([2, 2]);
  });

  test("goes to the user when the body was a stream and is gone", async () => {
    const { client, asked } = clientAt(await startCapricious());
    await expect(client.put("/me", { body: Readable.from(["a"]) })).rejects.toMatchObject({
      code: "claims_challenged",
    });
    expect(asked).toEqual([undefined, CLAIMS]);
  });
});

describe("what can go wrong", () => {
  test("before an answer rejects the call", async () => {
    const silent = await startApi(() => {});
    await expect(clientAt(silent, { api: { timeoutMs: 30 } }).client.get("/me")).rejects.toMatchObject({
      code: "downstream_timeout",
    });
    await expect(clientAt(silent).client.get("/me", { timeoutMs: 30 })).rejects.toMatchObject({
      code: "downstream_timeout",
    });
    const rude = await startRawApi((socket) => socket.on("data", () => socket.destroy()));
    await expect(clientAt(rude).client.get("/me")).rejects.toMatchObject({ code: "downstream_unreachable" });
  });

  test("within an answer rejects the reading of it", async () => {
    const cut = await startRawApi((socket) =>
      socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")),
    );
    const response = await clientAt(cut).client.get("/me");
    await expect(response.text()).rejects.toMatchObject({ code: "downstream_unreachable" });

    const stalled = await startApi((_request, reply) => {
      reply.write("half");
    });
    const slow = await clientAt(stalled, { api: { idleTimeoutMs: 30 } }).client.get("/me");
    await expect(slow.text()).rejects.toMatchObject({ code: "downstream_timeout" });
  });

  test("with what should be JSON, or with too much of it, rejects the reading too", async () => {
    const port = await startApi((request, response) =>
      response.end(request.url === "/v1.0/a" ? "<html>" : "x".repeat(2000)),
    );
    const { client } = clientAt(port, { maxBytes: 1000 });
    await expect((await client.get("/a")).json()).rejects.toMatchObject({ reason: "answer_not_json" });
    await expect((await client.get("/b")).bytes()).rejects.toMatchObject({ reason: "answer_too_large" });
  });

  test.each(["the call's signal", "the client's signal"])(
    "ends with %s, and the API sees it",
    async (which) => {
      const requests = createInbox<http.IncomingMessage>();
      const port = await startApi((request) => requests.put(request));
      const controller = new AbortController();
      const { signal } = controller;
      const { client } = clientAt(port, which === "the client's signal" ? { signal } : {});
      const pending = client.get("/me", which === "the call's signal" ? { signal } : {});
      const gone = once((await requests.next()).socket, "close");
      const reason = new Error("the caller has gone");
      controller.abort(reason);
      await expect(pending).rejects.toBe(reason);
      await gone;
      await expect(client.get("/me", { signal })).rejects.toBe(reason);
    },
  );

  test("is nothing when answers are left unread: small ones free their connection at once", async () => {
    const port = await startApi((_request, response) => response.end("x".repeat(30_000)));
    const { client } = clientAt(port);
    for (let call = 0; call < 12; call++) expect((await client.get("/me")).status).toBe(200);
  });

  test("is nothing when a large answer is discarded", async () => {
    const closed = createInbox<true>();
    const port = await startApi((_request, response) => {
      response.on("close", () => closed.put(true));
      response.write("x".repeat(1_000_000));
    });
    const response = await clientAt(port).client.get("/me");
    response.discard();
    expect(await closed.next()).toBe(true);
  });
});

test("an id with a slash in it passes as one segment where the API may have encoded slashes, and nowhere else", async () => {
  const port = await startApi((request, response) => response.end(request.url));
  const { client } = clientAt(port, { api: { encodedSlashes: "pass" } });
  expect(await (await client.get(["me", "messages", "AAMk/z="])).text()).toBe(
    "/v1.0/me/messages/AAMk%2Fz%3D",
  );
  await expect(client.get(["me", "messages", "../users"])).rejects.toMatchObject({ reason: "dot_segment" });
  const other = clientAt(port).client;
  await expect(other.get(["me", "messages", "AAMk/z="])).rejects.toMatchObject({
    reason: "encoded_separator",
  });
});
