/** What ends a request that takes long, and what does not: uploads, event streams, bodies kept for a second attempt. */

import { once } from "node:events";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import type { TransferRecord } from "../../src/downstream/contract.ts";
import { apiAt } from "./api-options.ts";
import { bodyOf, call, createInbox, onCleanup, reply, startApi, startGateway } from "./support.ts";

describe("an upload", () => {
  /** Sends pieces at a pace, and resolves with the answer. */
  async function upload(
    url: string,
    { first = 0, pieces, size, everyMs }: { first?: number; pieces: number; size: number; everyMs: number },
  ) {
    const request = http.request(url, { method: "POST", agent: false }).on("error", () => {});
    onCleanup(() => {
      request.destroy();
    });
    const answered = reply(request);
    if (first > 0) request.write(Buffer.alloc(first, 7));
    for (let piece = 0; piece < pieces && !request.destroyed && request.writable; piece++) {
      request.write(Buffer.alloc(size, 7));
      await sleep(everyMs);
    }
    request.end();
    return answered;
  }

  test("that arrives steadily outlives timeoutMs several times", async () => {
    const port = await startApi(async (request, response) => {
      response.end(`${(await bodyOf(request)).length}`);
    });
    const gateway = await startGateway({
      api: apiAt(port, { timeoutMs: 300, minUploadBytesPerSecond: 1_000 }),
    });
    const began = performance.now();
    const answer = await upload(gateway.url("/graph/me"), { pieces: 24, size: 4_096, everyMs: 50 });
    expect([answer.status, `${answer.body}`]).toEqual([200, `${24 * 4_096}`]);
    expect(performance.now() - began).toBeGreaterThan(900);
  });

  test("slower than minUploadBytesPerSecond is ended by timeoutMs, though no pause is long", async () => {
    const port = await startApi((request) => request.resume());
    const api = apiAt(port, { timeoutMs: 300, minUploadBytesPerSecond: 10_000 });
    const gateway = await startGateway({ api });
    const answer = await upload(gateway.url("/graph/me"), { pieces: 40, size: 10, everyMs: 50 });
    expect(answer.headers["x-code"]).toBe("request_malformed");
  });

  test("that becomes too slow is ended, however fast it began", async () => {
    const port = await startApi((request) => request.resume());
    const api = apiAt(port, { timeoutMs: 300, minUploadBytesPerSecond: 10_000 });
    const gateway = await startGateway({ api });
    const pace = { first: 60_000, pieces: 40, size: 10, everyMs: 50 };
    const answer = await upload(gateway.url("/graph/me"), pace);
    expect(answer.headers["x-code"]).toBe("request_malformed");
  });

  test("that has come whole leaves the API timeoutMs to answer, and no longer", async () => {
    const port = await startApi((request) => request.resume());
    const gateway = await startGateway({ api: apiAt(port, { timeoutMs: 300 }) });
    const began = performance.now();
    const answer = await upload(gateway.url("/graph/me"), { pieces: 10, size: 4_096, everyMs: 50 });
    expect(answer.headers["x-code"]).toBe("downstream_timeout");
    const tookMs = performance.now() - began;
    expect(tookMs).toBeGreaterThan(700);
    expect(tookMs).toBeLessThan(5_000);
  });
});

describe("an event stream", () => {
  async function startEvents(type: string) {
    const streams = createInbox<http.ServerResponse>();
    const port = await startApi((_request, response) => {
      response.writeHead(200, { "content-type": type });
      response.write("data: 1\n\n");
      streams.put(response);
    });
    return { port, streams };
  }

  test.each(["text/event-stream", "Text/Event-Stream; charset=utf-8"])(
    "of %s may be idle for streamIdleTimeoutMs",
    async (type) => {
      const { port, streams } = await startEvents(type);
      const gateway = await startGateway({
        api: apiAt(port, { idleTimeoutMs: 50, streamIdleTimeoutMs: 10_000 }),
      });
      const answer = call(gateway.url("/graph/events"));
      const stream = await streams.next();
      await sleep(400);
      stream.end("data: 2\n\n");
      expect(`${(await answer).body}`).toBe("data: 1\n\ndata: 2\n\n");
    },
  );

  test("is cut after streamIdleTimeoutMs as idle, and not as left by its caller", async () => {
    const { port } = await startEvents("text/event-stream");
    const api = apiAt(port, { idleTimeoutMs: 10_000, streamIdleTimeoutMs: 60 });
    const gateway = await startGateway({ api });
    await expect(call(gateway.url("/graph/events"))).rejects.toThrow();
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "idle" });
  });

  test("gives other answers no longer than idleTimeoutMs", async () => {
    const { port } = await startEvents("text/plain");
    const api = apiAt(port, { idleTimeoutMs: 60, streamIdleTimeoutMs: 10_000 });
    const gateway = await startGateway({ api });
    await expect(call(gateway.url("/graph/events"))).rejects.toThrow();
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "idle" });
  });

  test("whose caller takes no events is cut after idleTimeoutMs, as the caller's doing", async () => {
    const port = await startApi((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const fill = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536, 32))) {}
      };
      response.on("drain", fill).on("error", () => {});
      fill();
    });
    const api = apiAt(port, { idleTimeoutMs: 150, streamIdleTimeoutMs: 60_000 });
    const gateway = await startGateway({ api });
    const request = http.get(gateway.url("/graph/events"), { agent: false }).on("error", () => {});
    onCleanup(() => {
      request.destroy();
    });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    response.on("error", () => {}).pause();
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", cut: "caller_stalled" });
  });
});

describe("bodies kept for a second attempt", () => {
  const CLAIMS = Buffer.from('{"access_token":{"acrs":{"essential":true,"value":"c1"}}}').toString("base64");
  const recordOf = (user: string): TransferRecord & { downstreamStatus: undefined; cut: undefined } => ({
    owner: { user, client: "app" },
    transfers: undefined,
    trace: undefined,
    downstreamMs: undefined,
    downstreamRequestId: undefined,
    throttleMs: undefined,
    downstreamStatus: undefined,
    cut: undefined,
  });

  /** Answers when it is let, each request with a challenge. */
  async function startChallenging() {
    const held = createInbox<() => void>();
    const port = await startApi(async (request, response) => {
      await bodyOf(request);
      held.put(() =>
        response
          .writeHead(401, { "www-authenticate": `Bearer error="insufficient_claims", claims="${CLAIMS}"` })
          .end(),
      );
    });
    return { port, held };
  }

  async function replayable(gateway: Awaited<ReturnType<typeof startGateway>>): Promise<boolean> {
    const outcome = await gateway.outcomes.next();
    return "kind" in outcome && outcome.kind === "challenged" && outcome.replayable;
  }

  test("have a bound for one user, past which a body is sent once only; it is given back with the answer", async () => {
    const { port, held } = await startChallenging();
    const gateway = await startGateway({
      api: apiAt(port),
      fairness: { replayBytes: 4_000, userShare: 0.5 },
      forward: { record: recordOf("ada") },
    });
    const post = () => call(gateway.url("/graph/me"), { method: "POST", body: "x".repeat(1_500) });
    const first = post();
    const answerFirst = await held.next();
    const second = post();
    (await held.next())();
    expect(await replayable(gateway)).toBe(false);
    await second;
    answerFirst();
    expect(await replayable(gateway)).toBe(true);
    // The second attempt of the first request.
    (await held.next())();
    await first;
    await gateway.outcomes.next();

    const third = post();
    (await held.next())();
    expect(await replayable(gateway)).toBe(true);
    (await held.next())();
    await third;
  });

  test("are given back when their caller leaves", async () => {
    const { port, held } = await startChallenging();
    const gateway = await startGateway({ api: apiAt(port), fairness: { replayBytes: 2_000 } });
    const leaving = http
      .request(gateway.url("/graph/me"), { method: "POST", agent: false })
      .on("error", () => {});
    leaving.end("x".repeat(1_500));
    await held.next();
    leaving.destroy();
    expect(await gateway.outcomes.next()).toEqual({ kind: "abandoned" });

    const next = call(gateway.url("/graph/me"), { method: "POST", body: "x".repeat(1_500) });
    (await held.next())();
    expect(await replayable(gateway)).toBe(true);
    (await held.next())();
    await next;
  });
});
