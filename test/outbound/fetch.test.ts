/** Requests to the authority and to token platforms over real sockets, with their bounds. */

import { once } from "node:events";
import http, { type IncomingMessage, type RequestListener } from "node:http";
import https from "node:https";
import net from "node:net";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import { type BoundedRequest, boundedFetch, type FetchFailure } from "../../src/foundation/bounded-fetch.ts";
import { createOutboundFetch } from "../../src/outbound/fetch.ts";
import { listen, onCleanup } from "../downstream/support.ts";
import { createServerCertificate } from "../support/server-certificate.ts";

function open(ca?: string) {
  const outbound = createOutboundFetch({ proxyFor: () => undefined, ca });
  onCleanup(outbound.close);
  return outbound;
}

const BOUNDS = { timeoutMs: 30_000, maxBytes: 1_000 };

async function fetchFrom(server: net.Server, request: Partial<BoundedRequest> = {}) {
  const port = await listen(server);
  return boundedFetch(open().fetch, `http://localhost:${port}/path?x=1`, { ...BOUNDS, ...request });
}

const answering = (listener: RequestListener) => http.createServer(listener);

/** A server that writes these bytes as its answer, and then does nothing. */
const writing = (bytes: string, isLast = false) =>
  net.createServer((socket) => {
    socket.once("data", () => {
      if (isLast) socket.end(bytes);
      else socket.write(bytes);
    });
  });

const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

const failureOf = (answer: Promise<unknown>): Promise<FetchFailure["kind"] | "none"> =>
  answer.then(
    () => "none",
    (error: FetchFailure) => error.kind,
  );

describe("a request", () => {
  test("carries its method, path, fields and body, and asks for an answer that is not packed", async () => {
    let asked: IncomingMessage | undefined;
    let body = "";
    const { status, text } = await fetchFrom(
      answering(async (request, response) => {
        asked = request;
        for await (const chunk of request) body += chunk;
        response.statusCode = 400;
        response.end("größer");
      }),
      { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: "a=ä" },
    );
    expect({ status, text, body }).toEqual({ status: 400, text: "größer", body: "a=ä" });
    expect(asked).toMatchObject({
      method: "POST",
      url: "/path?x=1",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        "content-length": "4",
        "accept-encoding": "identity",
        accept: "*/*",
      },
    });
  });

  test("without a body has no length", async () => {
    let fields: string[] = [];
    await fetchFrom(
      answering((request, response) => {
        fields = Object.keys(request.headers);
        response.end();
      }),
    );
    expect(fields).not.toContain("content-length");
    expect(fields).not.toContain("transfer-encoding");
  });

  test("uses the connection of the one before again", async () => {
    const server = answering((_, response) => response.end("{}"));
    let connections = 0;
    server.on("connection", () => {
      connections += 1;
    });
    const port = await listen(server);
    const { fetch } = open();
    for (let count = 0; count < 3; count += 1) await boundedFetch(fetch, `http://localhost:${port}/`, BOUNDS);
    expect(connections).toBe(1);
  });
});

describe("an answer", () => {
  test("gives its fields by name in any case, those that stand twice as a list, and none that is absent", async () => {
    const { headers } = await fetchFrom(
      answering((_, response) => {
        response.setHeader("Retry-After", "7");
        response.setHeader("x-twice", ["a", "b"]);
        response.end();
      }),
    );
    expect(headers.get("RETRY-AFTER")).toBe("7");
    expect(headers.get("x-twice")).toBe("a, b");
    expect(headers.get("x-absent")).toBeNull();
    expect(Object.fromEntries(headers)).toMatchObject({ "retry-after": "7", "x-twice": "a, b" });
  });

  test("that redirects is given back, and its location is not asked", async () => {
    const asked: (string | undefined)[] = [];
    const { status, headers } = await fetchFrom(
      answering((request, response) => {
        asked.push(request.url);
        response.writeHead(302, { location: "/elsewhere" }).end();
      }),
    );
    expect(status).toBe(302);
    expect(headers.get("location")).toBe("/elsewhere");
    expect(asked).toEqual(["/path?x=1"]);
  });

  test.each([
    ["of a known length", `${HEAD}content-length: 12\r\n\r\n{"a":`],
    ["in chunks", `${HEAD}transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n`],
  ])("%s that is cut is no answer", async (_, bytes) => {
    expect(await failureOf(fetchFrom(writing(bytes, true)))).toBe("network");
  });

  test.each([
    ["never begins", ""],
    ["stops in its head", HEAD],
    ["stops in its body", `${HEAD}content-length: 12\r\n\r\n{"a":`],
    ["stops between chunks", `${HEAD}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n`],
  ])("that %s ends with the deadline", async (_, bytes) => {
    expect(await failureOf(fetchFrom(writing(bytes), { timeoutMs: 200 }))).toBe("timeout");
  });

  test("that its caller gives up amid the body is none", async () => {
    const given = new AbortController();
    const server = writing(`${HEAD}content-length: 12\r\n\r\n{"a":`);
    server.on("connection", (socket) => socket.once("data", () => setImmediate(() => given.abort())));
    expect(await failureOf(fetchFrom(server, { signal: given.signal }))).toBe("aborted");
  });

  test("that is too large is given up, and its connection is closed", async () => {
    const server = net.createServer((socket) => {
      socket.once("data", () => socket.write(`${HEAD}content-length: 1000000\r\n\r\n${"x".repeat(2_000)}`));
    });
    const closed = once(server, "connection").then(([socket]) => once(socket, "close"));
    expect(await failureOf(fetchFrom(server))).toBe("too_large");
    await closed;
  });

  test("in a content coding that was not asked for is none, since unpacking is not bounded", async () => {
    const packing = answering((_, response) => {
      response.setHeader("content-encoding", "gzip");
      response.end(gzipSync("{}"));
    });
    expect(await failureOf(fetchFrom(packing))).toBe("network");
  });

  test.each([
    ["garbage", "garbage\r\n\r\n"],
    ["two lengths", `${HEAD}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`],
    ["fields of 40 KiB", `${HEAD}x: ${"x".repeat(40_960)}\r\n\r\n`],
  ])("with %s is none", async (_, bytes) => {
    expect(await failureOf(fetchFrom(writing(bytes)))).toBe("network");
  });
});

describe("a server whose certificate", () => {
  const trusted = createServerCertificate("localhost");
  const secure = (certificate = trusted) =>
    listen(https.createServer({ ...certificate }, (_, response) => response.end("{}")));

  test("is of the trusted authority is asked", async () => {
    const port = await secure();
    const { text } = await boundedFetch(open(trusted.cert).fetch, `https://localhost:${port}/`, BOUNDS);
    expect(text).toBe("{}");
  });

  test("is of another authority, or for another name, is not asked", async () => {
    const port = await secure();
    expect(await failureOf(boundedFetch(open().fetch, `https://localhost:${port}/`, BOUNDS))).toBe("network");
    const other = createServerCertificate("other.example");
    const otherPort = await secure(other);
    expect(
      await failureOf(boundedFetch(open(other.cert).fetch, `https://localhost:${otherPort}/`, BOUNDS)),
    ).toBe("network");
  });

  test("is not trusted is not asked where the environment says that none has to be", async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      const port = await secure();
      expect(await failureOf(boundedFetch(open().fetch, `https://localhost:${port}/`, BOUNDS))).toBe(
        "network",
      );
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });
});
