/** What the console makes of the signals: digests and codes, nothing without viewers, and a bound on floods. */

import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createConsole } from "../../src/console/console.ts";
import type { Console, WatchedSignals } from "../../src/console/contract.ts";
import type { RequestRecord } from "../../src/http/contract.ts";

let console: Console;
let signals: WatchedSignals;
let passedOn: string[];
let seen: { kind: string; [name: string]: unknown }[];
let now: number;

beforeEach(async () => {
  jest.useFakeTimers({ doNotFake: ["performance"] });
  now = 1_700_000_000_000;
  passedOn = [];
  seen = [];
  const explain = (numbers: readonly number[]) =>
    numbers[0] === 50076 ? { meaning: "a second factor is asked for", fix: "sign in again" } : undefined;
  console = await createConsole({ explain, now: () => now });
  console.onEvents((...events) => void seen.push(...events.flat().map((event) => JSON.parse(event))));
  const note = (name: string) => () => void passedOn.push(name);
  signals = console.tap({
    requests: { began: note("began"), ended: note("ended") },
    identity: note("identity"),
    downstream: note("downstream"),
    rateLimit: note("rateLimit"),
    load: note("load"),
    connection: note("connection"),
  });
});
afterEach(() => {
  console.close();
  jest.useRealTimers();
});

const principal = { tenantId: "tenant-1", objectId: "object-1", clientId: "client-1" };

function request(facts: object = {}): RequestRecord {
  return {
    correlationId: "c-1",
    startedAt: performance.now(),
    route: "/graph",
    caller: { principal, assertion: { token: "secret-token" } },
    tokenOrigin: "authority",
    tokenRequest: { source: "certificate", generation: 2, requestId: "r" },
    verifyMs: 1,
    exchangeMs: 20,
    downstreamMs: 30,
    downstreamStatus: 200,
    ...facts,
  } as unknown as RequestRecord;
}
function pass(facts: object = {}, status = 200): void {
  const record = request(facts);
  signals.requests.began(record, {} as never);
  signals.requests.ended(record, { method: "GET", status, completed: true });
}
const requests = () => seen.filter(({ kind }) => kind === "request");
const states = () => seen.filter(({ kind }) => kind === "state");

describe("the console", () => {
  test("passes every signal on", () => {
    pass();
    signals.identity({ type: "key_set_refreshed", keySet: "k", keys: 1, changed: true });
    signals.downstream({ type: "breaker_opened", api: "graph" });
    signals.rateLimit({ type: "counted_alone" });
    signals.load({ type: "shed" });
    signals.connection("opened");
    expect(passedOn).toEqual(["began", "ended", "identity", "downstream", "rateLimit", "load", "connection"]);
  });

  test("prepares nothing while no viewer is connected, and sets no timer", () => {
    pass();
    jest.advanceTimersByTime(10_000);
    expect(seen).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  test.each([
    ["without viewers", 0],
    ["with one, until a batch is due", 1],
  ])("of a request, only time and refusal are looked at while it ends, %s", (_, viewers) => {
    console.viewers(viewers);
    const read = new Set<string | symbol>();
    const record = new Proxy(request(), {
      get(target, name) {
        read.add(name);
        return Reflect.get(target, name);
      },
    });
    signals.requests.began(record, {} as never);
    signals.requests.ended(record, { method: "GET", status: 200, completed: true });
    expect([...read].sort()).toEqual(["refusal", "startedAt"]);
    jest.advanceTimersByTime(250);
    expect(requests()).toHaveLength(viewers);
  });

  test("the time of a request is that of its end, not that of its batch", () => {
    console.viewers(1);
    pass();
    now += 150;
    pass();
    jest.advanceTimersByTime(250);
    expect(requests().map(({ at }) => at)).toEqual([now - 150, now]);
  });

  test("shows a request with rooms, origin, credential and downstream status, and the user as a digest", () => {
    console.viewers(1);
    pass();
    jest.advanceTimersByTime(250);
    expect(requests()).toEqual([
      expect.objectContaining({
        correlationId: "c-1",
        route: "/graph",
        code: "granted",
        status: 200,
        verifyMs: 1,
        exchangeMs: 20,
        downstreamMs: 30,
        origin: "authority",
        credential: "certificate",
        generation: 2,
        downstreamStatus: 200,
        user: expect.stringMatching(/^[0-9a-f]{8}$/),
      }),
    ]);
    expect(JSON.stringify(seen)).not.toMatch(/object-1|tenant-1|secret-token/);
  });

  test("digests of one user are alike in one process, and differ between users and between processes", async () => {
    console.viewers(1);
    pass();
    pass();
    pass({ caller: { principal: { ...principal, objectId: "object-2" } } });
    jest.advanceTimersByTime(250);
    const [first, again, other] = requests().map(({ user }) => user);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
    const second = await createConsole({ explain: () => undefined, now: () => now });
    const theirs: unknown[] = [];
    second.onEvents((...events) => void theirs.push(...events.flat().map((event) => JSON.parse(event))));
    const tapped = second.tap(signals);
    second.viewers(1);
    tapped.requests.ended(request(), { method: "GET", status: 200, completed: true });
    jest.advanceTimersByTime(250);
    second.close();
    expect(theirs).toContainEqual(expect.objectContaining({ kind: "request" }));
    expect(theirs).not.toContainEqual(expect.objectContaining({ user: first }));
  });

  test("a refusal shows who must act, and the fix of the AADSTS table where it has one", () => {
    console.viewers(1);
    const diagnostics = { error_codes: [50076] };
    pass({ refusal: { code: "claims_challenged", reason: "mfa", diagnostics } }, 401);
    pass({ refusal: { code: "client_rejected", reason: "x", diagnostics: { error_codes: [1] } } }, 503);
    pass(
      { caller: undefined, refusal: { code: "token_missing", reason: undefined, diagnostics: undefined } },
      401,
    );
    jest.advanceTimersByTime(250);
    expect(requests().map(({ code, actor, fix, user }) => [code, actor, fix, user === undefined])).toEqual([
      ["claims_challenged", "user", "AADSTS50076: a second factor is asked for. Fix: sign in again.", false],
      ["client_rejected", "operator", undefined, false],
      ["token_missing", "caller", undefined, true],
    ]);
  });

  test("of a flood, 50 granted requests in a quarter of a second are shown and the rest counted, each turn anew", () => {
    console.viewers(1);
    for (const flood of [60, 50, 51]) {
      seen = [];
      for (let index = 0; index < flood; index++) pass();
      jest.advanceTimersByTime(250);
      expect(requests()).toHaveLength(50);
      const counted = seen.filter(({ kind }) => kind === "passed_over");
      expect(counted).toEqual(flood === 50 ? [] : [{ kind: "passed_over", requests: flood - 50 }]);
    }
  });

  test("granted requests of a flood take no place from refused ones, which have a bound of their own", () => {
    console.viewers(1);
    const refusal = { code: "internal", reason: undefined, diagnostics: undefined };
    for (let index = 0; index < 500; index++) pass();
    for (let index = 0; index < 70; index++) pass({ refusal }, 500);
    jest.advanceTimersByTime(250);
    const codes = requests().map(({ code }) => code);
    expect(codes.filter((code) => code === "granted")).toHaveLength(50);
    expect(codes.filter((code) => code === "internal")).toHaveLength(50);
    expect(seen).toContainEqual({ kind: "passed_over", requests: 450 + 20 });
  });

  test("the state comes at once to a new viewer and then each second, until the last one has left", () => {
    signals.connection("opened");
    signals.downstream({ type: "breaker_opened", api: "graph" });
    console.viewers(1);
    expect(states()).toEqual([
      expect.objectContaining({ connections: 1, breakers: { graph: "open" }, inFlight: 0 }),
    ]);
    console.viewers(2);
    expect(states()).toHaveLength(2);
    jest.advanceTimersByTime(3_000);
    expect(states()).toHaveLength(5);
    console.viewers(0);
    jest.advanceTimersByTime(3_000);
    expect(states()).toHaveLength(5);
    expect(jest.getTimerCount()).toBe(0);
  });

  test("counts rates of requests that came before the first viewer, and forgets those of 15 minutes ago", () => {
    pass();
    pass({ refusal: { code: "internal", reason: undefined, diagnostics: undefined } }, 500);
    console.viewers(1);
    const at = Math.floor(now / 10_000) * 10_000;
    expect(states()[0]?.rates).toEqual([expect.objectContaining({ at, requests: 2, refused: 1 })]);
    now += 15 * 60_000;
    pass();
    console.viewers(2);
    expect(states()[1]?.rates).toEqual([expect.objectContaining({ requests: 1, refused: 0 })]);
  });
});
