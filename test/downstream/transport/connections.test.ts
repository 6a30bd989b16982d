import type { lookup } from "node:dns";
import { once } from "node:events";
import http from "node:http";
import net, { type Socket } from "node:net";
import { describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions, Transport } from "../../../src/downstream/contract.ts";
import { apiAt, LIMITS } from "../api-options.ts";
import {
  bodyOf,
  call,
  createInbox,
  listen,
  startApi,
  startGateway,
  startRawApi,
  transportFor,
} from "../support.ts";

interface Asked {
  readonly method?: string;
  readonly body?: Buffer;
}

/** Asks for the API's root, waits for the whole answer, and says how it went. */
function ask(transport: Transport, api: DownstreamApiOptions, { method = "GET", body }: Asked = {}) {
  return new Promise<string>((resolve) => {
    let status = 0;
    transport.send(
      {
        target: { api, origin: new URL(api.baseUrl).origin, path: "/" },
        method,
        headers: [],
        body,
      },
      {
        head: (came) => {
          status = came;
        },
        chunk() {},
        end: () => resolve(String(status)),
        failed: ({ code, reason }) => resolve(`${code} ${reason}`),
      },
    );
  });
}

/** After undici has taken the connection back. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

const rules = { max: 1024, keepAliveMs: 30_000, maxRequests: 0, maxAgeMs: 300_000 };

/** An API that notes on which connection each request came. */
async function startCounting(answer: http.RequestListener = (_request, response) => void response.end()) {
  const connections: Socket[] = [];
  const counts: number[] = [];
  const server = http.createServer((request, response) => {
    const index = connections.indexOf(request.socket);
    counts[index] = (counts[index] ?? 0) + 1;
    answer(request, response);
  });
  server.on("connection", (socket) => connections.push(socket));
  return { port: await listen(server), counts, connections };
}

describe("connections to an API", () => {
  test("are closed after their number of requests", async () => {
    const { port, counts } = await startCounting();
    const api = apiAt(port, { connections: { ...rules, maxRequests: 3 } });
    const transport = transportFor(api);
    for (let round = 0; round < 8; round++) {
      expect(await ask(transport, api)).toBe("200");
      await settled();
    }
    expect(counts).toEqual([3, 3, 2]);
  });

  test("are used evenly", async () => {
    const held: http.ServerResponse[] = [];
    const { port, counts } = await startCounting((_request, response) => {
      if (counts.reduce((sum, count) => sum + count, 0) > 5) response.end();
      else held.push(response);
    });
    const api = apiAt(port);
    const transport = transportFor(api);
    const first = Array.from({ length: 5 }, () => ask(transport, api));
    while (held.length < 5) await settled();
    for (const response of held) response.end();
    await Promise.all(first);
    for (let round = 0; round < 45; round++) await ask(transport, api).then(settled);
    expect(counts).toEqual([10, 10, 10, 10, 10]);
  });

  test("past their age are made anew, so that a change of DNS takes effect within it", async () => {
    const [old, fresh] = [await startCounting(), await startCounting()];
    const clock = { now: 1_000 };
    let resolved = 0;
    // Both servers stand at one address, so the change is one of the port that a connection reaches.
    const relay = net.createServer((socket) => {
      const to = net.connect(resolved > 1 ? fresh.port : old.port, "127.0.0.1");
      socket.pipe(to).on("error", () => {});
      to.pipe(socket).on("error", () => {});
    });
    const port = await listen(relay);
    const resolve = ((_host: string, _options: unknown, done: (...results: unknown[]) => void) => {
      resolved += 1;
      done(null, [{ address: "127.0.0.1", family: 4 }]);
    }) as unknown as typeof lookup;
    const api = apiAt(port, {
      baseUrl: `http://api.example:${port}`,
      connections: { ...rules, maxAgeMs: 60_000 },
    });
    const transport = transportFor(api, { resolve, now: () => clock.now });
    for (let round = 0; round < 3; round++) {
      await ask(transport, api);
      await settled();
      clock.now += 20_000 - 1;
    }
    expect([resolved, old.counts, fresh.counts]).toEqual([1, [3], []]);
    clock.now += 3;
    await ask(transport, api);
    expect([resolved, old.counts, fresh.counts]).toEqual([2, [3], [1]]);
  });

  test("without a request are closed after keepAliveMs", async () => {
    const sockets = createInbox<Socket>();
    const server = http.createServer((_request, response) => void response.end());
    server.on("connection", (socket) => sockets.put(socket));
    const api = apiAt(await listen(server), { connections: { ...rules, keepAliveMs: 40 } });
    await ask(transportFor(api), api);
    const socket = await sockets.next();
    const began = performance.now();
    await once(socket, "close");
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  test("are no more than max, and requests under way neither", async () => {
    const held = createInbox<http.ServerResponse>();
    const { port, connections } = await startCounting((_request, response) => held.put(response));
    const api = apiAt(port, { maxConcurrent: 10, connections: { ...rules, max: 2 } });
    const transport = transportFor(api);
    const answers = Array.from({ length: 6 }, () => ask(transport, api));
    for (let served = 0; served < 6; served++) {
      (await held.next()).end();
      expect(connections.filter(({ destroyed }) => !destroyed).length).toBeLessThanOrEqual(2);
    }
    expect(await Promise.all(answers)).toEqual(Array(6).fill("200"));
  });
});

describe("a failure to connect", () => {
  const failing = (code: string, times: number) => {
    const asked = { times: 0 };
    const resolve = ((_host: string, _options: unknown, done: (...results: unknown[]) => void) => {
      asked.times += 1;
      if (asked.times <= times) done(Object.assign(new Error("getaddrinfo"), { code }));
      else done(null, [{ address: "127.0.0.1", family: 4 }]);
    }) as unknown as typeof lookup;
    return { asked, resolve };
  };

  test.each(["GET", "POST", "PATCH", "PUT", "DELETE"])(
    "that may pass is followed by one more attempt of %s, with its body",
    async (method) => {
      const bodies: string[] = [];
      const port = await startApi(async (request, response) => {
        bodies.push(`${await bodyOf(request)}`);
        response.end();
      });
      const { asked, resolve } = failing("EAI_AGAIN", 1);
      const api = apiAt(port, { baseUrl: `http://api.example:${port}` });
      const body = method === "GET" ? {} : { body: Buffer.from("hello") };
      expect(await ask(transportFor(api, { resolve }), api, { method, ...body })).toBe("200");
      expect([asked.times, bodies]).toEqual([2, [method === "GET" ? "" : "hello"]]);
    },
  );

  test.each([
    ["EAI_AGAIN", 2],
    ["ENOTFOUND", 1],
  ])("%s for good is reported after %i attempts", async (code, attempts) => {
    const { asked, resolve } = failing(code, 9);
    const api = apiAt(1, { baseUrl: "http://api.example:1" });
    expect(await ask(transportFor(api, { resolve }), api)).toBe("downstream_unreachable dns");
    expect(asked.times).toBe(attempts);
  });

  test("of a streamed body leaves the body whole for the next attempt", async () => {
    const { resolve } = failing("EAI_AGAIN", 1);
    const port = await startApi(async (request, response) => void response.end(await bodyOf(request)));
    const api = apiAt(port, { baseUrl: `http://api.example:${port}/v1.0` });
    const gateway = await startGateway({ api, transport: { resolve } });
    const answer = await call(gateway.url("/graph/me"), { method: "POST", body: Buffer.alloc(300_000, 7) });
    expect([answer.status, answer.body.length]).toEqual([200, 300_000]);
  });
});

describe("a connection that is lost before an answer", () => {
  /** Answers the first request of a connection, and closes that at the next; the second connection answers all. */
  async function startClosing() {
    const heads: string[] = [];
    let connections = 0;
    const port = await startRawApi((socket) => {
      connections += 1;
      const isFirst = connections === 1;
      let requests = 0;
      socket.on("data", (chunk) => {
        const text = chunk.toString("latin1");
        if (!/^[A-Z]+ \//.test(text)) return;
        heads.push(text.slice(0, text.indexOf(" ")));
        requests += 1;
        if (isFirst && requests === 2) socket.destroy();
        else socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
      });
    });
    return { port, heads };
  }

  test.each([
    ["GET", undefined],
    ["PUT", "ab"],
    ["DELETE", "ab"],
    ["DELETE", undefined],
  ])("is replaced and %s with the body %j sent again", async (method, body) => {
    const { port, heads } = await startClosing();
    const gateway = await startGateway({ api: apiAt(port) });
    await call(gateway.url("/graph/me"));
    await settled();
    // Node announces no body of a DELETE by itself.
    const headers = body === undefined ? {} : { "content-length": body.length };
    expect((await call(gateway.url("/graph/me"), { method, headers, body })).status).toBe(200);
    expect(heads).toEqual(["GET", method, method]);
  });

  test.each(["POST", "PATCH"])("fails a %s, which the API may have carried out", async (method) => {
    const { port, heads } = await startClosing();
    const gateway = await startGateway({ api: apiAt(port) });
    await call(gateway.url("/graph/me"));
    await settled();
    const answer = await call(gateway.url("/graph/me"), { method, body: "ab" });
    expect(answer.headers["x-code"]).toBe("downstream_unreachable");
    expect(heads).toEqual(["GET", method]);
  });

  test("fails a PUT whose body is too large to be kept", async () => {
    const { port, heads } = await startClosing();
    const gateway = await startGateway({ api: apiAt(port) });
    await call(gateway.url("/graph/me"));
    await settled();
    const answer = await call(gateway.url("/graph/me"), { method: "PUT", body: Buffer.alloc(100_000) }).catch(
      () => undefined,
    );
    expect(answer?.headers["x-code"] ?? "downstream_unreachable").toBe("downstream_unreachable");
    expect(heads).toEqual(["GET", "PUT"]);
  });

  test("after the answer has begun is not asked again", async () => {
    let requests = 0;
    const port = await startRawApi((socket) => {
      socket.once("data", () => {
        requests += 1;
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        setTimeout(() => socket.resetAndDestroy(), 20);
      });
    });
    const gateway = await startGateway({ api: apiAt(port) });
    await expect(call(gateway.url("/graph/me"))).rejects.toThrow();
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "downstream_failed" });
    expect(requests).toBe(1);
  });
});

describe("an interim answer", () => {
  const FINAL = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
  const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
  const HINTS = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n";

  async function answerIn(packets: readonly string[]): Promise<string> {
    const port = await startRawApi((socket) => {
      socket.setNoDelay(true).on("data", async () => {
        for (const packet of packets) {
          socket.write(packet);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      });
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const first = await call(gateway.url("/graph/me"));
    const second = await call(gateway.url("/graph/me"));
    return [first, second]
      .map(({ status, body, headers }) => `${status} ${body}${headers.link ?? ""}`)
      .join();
  }

  test.each<[string, string[]]>([
    ["a 100 that was not asked for, with the final answer", [CONTINUE + FINAL]],
    ["a 100 in a packet of its own", [CONTINUE, FINAL]],
    ["a 102 in a packet of its own", ["HTTP/1.1 102 Processing\r\n\r\n", FINAL]],
    ["a 103 with fields in a packet of its own", [HINTS, FINAL]],
    ["several of them", [CONTINUE, HINTS + HINTS, CONTINUE + FINAL]],
    ["one cut within its status", [CONTINUE.slice(0, 10), CONTINUE.slice(10), FINAL]],
    ["one cut before the end of its head", [CONTINUE.slice(0, -1), `\n${FINAL}`]],
    ["one byte after the other", [...(CONTINUE + FINAL)]],
    ["none, the final answer one byte after the other", [...FINAL]],
  ])("is read past: %s", async (_, packets) => {
    expect(await answerIn(packets)).toBe("200 hi,200 hi");
  });

  test("does not hide a body that looks like one", async () => {
    expect(await answerIn([`HTTP/1.1 200 OK\r\ncontent-length: ${CONTINUE.length}\r\n\r\n`, CONTINUE])).toBe(
      `200 ${CONTINUE},200 ${CONTINUE}`,
    );
  });

  test("101 is refused, since no upgrade was offered", async () => {
    const port = await startRawApi((socket) => {
      socket.on("data", () =>
        socket.write("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
      );
    });
    const gateway = await startGateway({ api: apiAt(port) });
    expect((await call(gateway.url("/graph/me"))).headers["x-code"]).toBe("downstream_unreachable");
  });
});

test("a 407 of the API is a failure of the gateway's own connection, and not the caller's affair", async () => {
  const port = await startApi((_request, response) => {
    response.writeHead(407, { "proxy-authenticate": "Basic" }).end("credentials, please");
  });
  const gateway = await startGateway({ api: apiAt(port) });
  const answer = await call(gateway.url("/graph/me"));
  expect([answer.status, answer.headers["x-code"], `${answer.body}`]).toEqual([
    500,
    "downstream_unreachable",
    "proxy_refused",
  ]);
});

test("one API's leave to enter private networks is not lent to another API's redirects", async () => {
  let asked = 0;
  const inside = await startApi((_request, response) => {
    asked += 1;
    response.end();
  });
  const origin = `http://127.0.0.1:${inside}`;
  const [open, shut] = [apiAt(1, { name: "open" }), apiAt(1, { name: "shut" })];
  Object.assign(shut, { baseUrl: "https://api.example", allowPrivateNetwork: false });
  const { createTransport } = await import("../../../src/downstream/transport/pool.ts");
  const transport = createTransport({ apis: [open, shut], ...LIMITS });
  const follow = (api: DownstreamApiOptions) =>
    new Promise<string>((resolve) => {
      transport.send(
        { target: { api, origin, path: "/" }, method: "GET", headers: [], body: undefined },
        {
          head: (status) => resolve(`${status}`),
          chunk() {},
          end() {},
          failed: ({ reason = "" }) => resolve(reason),
        },
      );
    });
  expect([await follow(open), await follow(shut), await follow(open), await follow(shut)]).toEqual([
    "200",
    "private_address",
    "200",
    "private_address",
  ]);
  expect(asked).toBe(2);
  await transport.destroy();
});
