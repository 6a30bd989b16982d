import { once } from "node:events";
import http from "node:http";
import net, { type Socket } from "node:net";
import { describe, expect, test } from "@jest/globals";
import type { ForwardOutcome, Transport } from "../../src/downstream/contract.ts";
import { createForward } from "../../src/downstream/forward.ts";
import { compileTarget } from "../../src/downstream/target/downstream-api.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { apiAt } from "./api-options.ts";
import {
  call,
  createInbox,
  listen,
  NO_SHARES,
  onCleanup,
  reply,
  startApi,
  startGateway,
  startRawApi,
  startTorrent,
} from "./support.ts";

describe("a caller who leaves", () => {
  test("while the API is still thinking takes the downstream request along", async () => {
    const requests = createInbox<http.IncomingMessage>();
    const port = await startApi((request) => requests.put(request));
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.get(gateway.url("/graph/me"), { agent: false }).on("error", () => {});
    const arrived = await requests.next();
    const gone = once(arrived.socket, "close");
    request.destroy();
    await gone;
    expect(await gateway.outcomes.next()).toEqual({ kind: "abandoned" });
  });

  test("in the middle of an answer takes the downstream answer along", async () => {
    const responses = createInbox<http.ServerResponse>();
    const port = await startApi((_request, response) => {
      response.write("first");
      responses.put(response);
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.get(gateway.url("/graph/me"), { agent: false }).on("error", () => {});
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    response.on("error", () => {});
    await once(response, "data");
    const gone = once(await responses.next(), "close");
    request.destroy();
    await gone;
    expect(await gateway.outcomes.next()).toMatchObject({
      kind: "answered",
      cut: "caller_gone",
      responseBytes: 5,
    });
  });

  test("in the middle of an upload leaves the API with a request that never completes", async () => {
    const ends = createInbox<string>();
    const port = await startApi((request) => {
      request.once("data", () => ends.put("begun"));
      request.on("end", () => ends.put("complete")).on("error", () => ends.put("cut"));
    });
    const gateway = await startGateway({ api: apiAt(port) });
    for (const headers of [{}, { "content-length": "10" }]) {
      const request = http.request(gateway.url("/graph/me"), { method: "POST", agent: false, headers });
      request.on("error", () => {});
      request.write("half");
      expect(await ends.next()).toBe("begun");
      request.destroy();
      expect(await ends.next()).toBe("cut");
      expect(await gateway.outcomes.next()).toEqual({ kind: "abandoned" });
    }
  });

  test("because the gateway dropped the connection itself does no harm while chunks still come", async () => {
    const { port } = await startTorrent();
    const gateway = await startGateway({
      api: apiAt(port),
      prepare: (_incoming, outgoing) => {
        const write = outgoing.write.bind(outgoing) as (chunk: unknown) => boolean;
        let chunks = 0;
        outgoing.write = (chunk: unknown) => {
          if (++chunks === 3) outgoing.destroy();
          return write(chunk);
        };
      },
    });
    await expect(call(gateway.url("/graph/me"))).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "caller_gone" });
  });

  test("while waiting for a connection is never heard of by the API", async () => {
    const requests = createInbox<[string, http.ServerResponse]>();
    const port = await startApi((request, response) => requests.put([request.url ?? "", response]));
    const gateway = await startGateway({ api: apiAt(port, { maxConcurrent: 1 }) });
    const first = call(gateway.url("/graph/first"));
    const [, held] = await requests.next();
    const leaving = http.get(gateway.url("/graph/leaving"), { agent: false }).on("error", () => {});
    const third = call(gateway.url("/graph/third"));
    await once(leaving, "socket");
    await once(leaving.socket ?? new net.Socket(), "connect");
    // What a caller has sent before leaving may overtake the leaving; a round trip through the gateway settles it.
    await expect(call(gateway.url("/elsewhere"))).resolves.toMatchObject({ status: 500 });
    await gateway.outcomes.next();
    leaving.destroy();
    expect(await gateway.outcomes.next()).toEqual({ kind: "abandoned" });
    held.end();
    await first;
    const [url, response] = await requests.next();
    expect(url).toBe("/v1.0/third");
    response.end();
    await third;
  });
});

describe("an answer that breaks off", () => {
  test.each([
    ["below its length", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"],
    ["within a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nonly this"],
    ["between chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n"],
    ["in a broken chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n"],
  ])("%s destroys the caller's connection", async (_, bytes) => {
    const port = await startRawApi((socket) => socket.on("data", () => socket.end(bytes)));
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.get(gateway.url("/graph/me"), { agent: false });
    await expect(reply(request)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(await gateway.outcomes.next()).toMatchObject({
      kind: "answered",
      status: 200,
      cut: "downstream_failed",
    });
  });

  test("never reaches a raw caller with a last chunk that would make it look whole", async () => {
    const port = await startRawApi((socket) =>
      socket.on("data", () =>
        socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n"),
      ),
    );
    const gateway = await startGateway({ api: apiAt(port) });
    const socket = net.connect(gateway.port, "127.0.0.1").on("error", () => {});
    onCleanup(() => {
      socket.destroy();
    });
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk;
    });
    socket.write("GET /graph/me HTTP/1.1\r\nhost: a\r\n\r\n");
    await once(socket, "close");
    expect(received).toContain("part");
    expect(received).not.toMatch(/\r\n0\r\n/);
  });

  test("with its idle time exceeded destroys the caller's connection", async () => {
    const port = await startApi((_request, response) => {
      response.write("first");
    });
    const gateway = await startGateway({ api: apiAt(port, { idleTimeoutMs: 30 }) });
    await expect(call(gateway.url("/graph/me"))).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "idle" });
  });

  test("because the caller stopped reading gives both connections back", async () => {
    const closed = createInbox<string>();
    const port = await startApi((_request, response) => {
      response.on("close", () => closed.put("closed"));
      const fill = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536))) {}
      };
      response.on("drain", fill);
      fill();
    });
    const gateway = await startGateway({ api: apiAt(port, { idleTimeoutMs: 100 }) });
    const socket = net.connect(gateway.port, "127.0.0.1").on("error", () => {});
    onCleanup(() => {
      socket.destroy();
    });
    socket.pause();
    socket.write("GET /graph/me HTTP/1.1\r\nhost: a\r\n\r\n");
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "caller_stalled" });
    expect(await closed.next()).toBe("closed");
  });
});

test("an answer that came whole, and of which the caller takes nothing, ends as the caller's doing", async () => {
  const outcomes = createInbox<ForwardOutcome>();
  const body = Buffer.alloc(64 * 2 ** 20);
  const transport: Transport = {
    send(_request, receiver) {
      receiver.head(200, { "content-length": `${body.length}` });
      receiver.chunk(body);
      receiver.end();
      return { pause() {}, resume() {}, abort() {} };
    },
    close: async () => {},
    destroy: async () => {},
  };
  const forward = createForward({ transport, fairness: { replayBytes: 0, ...NO_SHARES } });
  const target = compileTarget(apiAt(1, { idleTimeoutMs: 50 }), {
    path: "/graph",
    methods: ["GET"],
    allow: ["/**"],
  });
  const server = http.createServer((incoming, outgoing) => {
    const sent = { target: target("GET", "/graph/me"), token: new Secret("delegated"), correlationId: "c-1" };
    void forward({ incoming, framing: { kind: "none" }, outgoing, ...sent }).then(outcomes.put);
  });
  const socket = net.connect(await listen(server), "127.0.0.1").on("error", () => {});
  onCleanup(() => void socket.destroy());
  socket.pause().write("GET /graph/me HTTP/1.1\r\nhost: a\r\n\r\n");
  expect(await outcomes.next()).toMatchObject({ kind: "answered", cut: "caller_stalled" });
});

describe("an API that does not answer", () => {
  test("within its deadline is a downstream_timeout", async () => {
    const port = await startApi(() => {});
    const gateway = await startGateway({ api: apiAt(port, { timeoutMs: 30 }) });
    expect((await call(gateway.url("/graph/me"))).headers["x-code"]).toBe("downstream_timeout");
  });

  test("is let go when its time is up", async () => {
    const sockets = createInbox<Socket>();
    const port = await startRawApi((socket) => sockets.put(socket.resume()));
    const gateway = await startGateway({ api: apiAt(port, { timeoutMs: 30 }) });
    const answer = call(gateway.url("/graph/me"));
    await once(await sockets.next(), "close");
    expect((await answer).headers["x-code"]).toBe("downstream_timeout");
  });

  test("because it does not read the upload is a downstream_timeout", async () => {
    const port = await startRawApi((socket) => socket.pause());
    const gateway = await startGateway({ api: apiAt(port, { idleTimeoutMs: 500 }) });
    const request = http
      .request(gateway.url("/graph/me"), { method: "POST", agent: false })
      .on("error", () => {});
    const answered = reply(request);
    for (let sent = 0; sent < 64; sent++) request.write(Buffer.alloc(1024 * 1024));
    expect((await answered).headers["x-code"]).toBe("downstream_timeout");
    request.destroy();
  });

  test("because the caller does not send is the caller's fault", async () => {
    const port = await startApi((request) => request.resume());
    for (const limits of [{ idleTimeoutMs: 40 }, { timeoutMs: 40 }]) {
      const gateway = await startGateway({ api: apiAt(port, limits) });
      const request = http
        .request(gateway.url("/graph/me"), { method: "POST", agent: false })
        .on("error", () => {});
      const answered = reply(request);
      request.write("half");
      const answer = await answered;
      expect([answer.headers["x-code"], `${answer.body}`]).toEqual(["request_malformed", "body_stalled"]);
      request.destroy();
    }
  });
});

describe("an API that cannot be talked to", () => {
  test.each<[string, string]>([
    ["protocol", "SSH-2.0-OpenSSH_9.6\r\n"],
    ["protocol", "HTTP/1.1 abc OK\r\n\r\n"],
    ["protocol", "HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n"],
    ["protocol", "HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 0\r\n\r\n"],
    ["protocol", "HTTP/1.1 200 OK\r\nbad name: a\r\n\r\n"],
    ["protocol", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"],
    ["protocol", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"],
    ["reset", "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"],
    ["headers_too_large", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(70_000)}\r\n\r\n`],
  ])("is downstream_unreachable: %s", async (reason, bytes) => {
    const port = await startRawApi((socket) => socket.on("data", () => socket.end(bytes, "latin1")));
    const gateway = await startGateway({ api: apiAt(port) });
    // A request that is not idempotent, so that nothing is tried again.
    const answer = await call(gateway.url("/graph/me"), { method: "POST" });
    expect([answer.headers["x-code"], `${answer.body}`]).toEqual(["downstream_unreachable", reason]);
  });

  test("for want of anybody listening is downstream_unreachable", async () => {
    const vacated = net.createServer();
    const port = await listen(vacated);
    await new Promise((resolve) => vacated.close(resolve));
    const gateway = await startGateway({ api: apiAt(port) });
    const answer = await call(gateway.url("/graph/me"));
    expect([answer.headers["x-code"], `${answer.body}`]).toEqual(["downstream_unreachable", "refused"]);
  });
});

describe("a connection that the API closes at the wrong moment", () => {
  /** Answers the first request of a connection, and hangs up on the second. */
  const startForgetful = async (seen: string[]) =>
    startRawApi((socket) => {
      let requests = 0;
      socket.on("data", (chunk) => {
        seen.push(`${chunk}`.slice(0, `${chunk}`.indexOf(" ")));
        if (++requests === 1) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        else socket.destroy();
      });
    });

  test.each(["GET", "DELETE", "OPTIONS"])("lets a %s be asked once more", async (method) => {
    const seen: string[] = [];
    const gateway = await startGateway({ api: apiAt(await startForgetful(seen)) });
    expect((await call(gateway.url("/graph/me"))).status).toBe(200);
    expect((await call(gateway.url("/graph/me"), { method })).status).toBe(200);
    expect(seen).toEqual(["GET", method, method]);
  });

  test("fails a POST, which might have taken effect", async () => {
    const seen: string[] = [];
    const gateway = await startGateway({ api: apiAt(await startForgetful(seen)) });
    await call(gateway.url("/graph/me"));
    const answer = await call(gateway.url("/graph/me"), { method: "POST" });
    expect(answer.headers["x-code"]).toBe("downstream_unreachable");
    expect(seen).toEqual(["GET", "POST"]);
  });

  test("is not tried a third time", async () => {
    let requests = 0;
    const port = await startRawApi((socket) =>
      socket.on("data", () => {
        requests++;
        socket.destroy();
      }),
    );
    const gateway = await startGateway({ api: apiAt(port) });
    expect((await call(gateway.url("/graph/me"))).headers["x-code"]).toBe("downstream_unreachable");
    expect(requests).toBe(2);
  });
});

describe("a queue before the API", () => {
  test("refuses what it cannot hold, and takes requests again afterwards", async () => {
    const responses = createInbox<http.ServerResponse>();
    const port = await startApi((_request, response) => responses.put(response));
    const gateway = await startGateway({
      api: apiAt(port, { maxConcurrent: 1, maxWaiting: 1 }),
    });
    const first = call(gateway.url("/graph/1"));
    const held = await responses.next();
    const answers = [call(gateway.url("/graph/2")), call(gateway.url("/graph/3"))];
    const refused = await Promise.race(answers);
    expect(refused.headers["x-code"]).toBe("overloaded");
    expect(await gateway.outcomes.next()).toMatchObject({ code: "overloaded", retryAfterSeconds: 1 });
    held.end();
    await first;
    (await responses.next()).end();
    expect((await Promise.all(answers)).map(({ status }) => status).sort()).toEqual([200, 500]);
  });
});
