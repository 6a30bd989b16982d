import type http from "node:http";
import { beforeEach, describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions, TransferObserver, Transport } from "../../../src/downstream/contract.ts";
import { createPlaces, type PlaceHolder } from "../../../src/downstream/transport/places.ts";
import type { Owner } from "../../../src/foundation/budget.ts";
import { apiAt } from "../api-options.ts";
import { createInbox, startApi, transportFor } from "../support.ts";

const user = (name: string, client = "app"): Owner => ({ user: name, client });

describe("places at an API", () => {
  let begun: string[];
  beforeEach(() => {
    begun = [];
  });
  const holder = (name: string, owner: Owner): PlaceHolder => ({ owner, admitted: () => begun.push(name) });
  const code = (refusal: { code: string; reason: string | undefined } | undefined) =>
    refusal && `${refusal.code} ${refusal.reason}`;

  test("are given to one user up to its share, and to others beside it", () => {
    const places = createPlaces({ maxUnderWay: 8, maxWaiting: 8, userShare: 0.25, clientShare: 1 });
    for (const name of ["a1", "a2", "a3", "a4"])
      expect(places.enter(holder(name, user("a")))).toBeUndefined();
    expect(code(places.enter(holder("a5", user("a"))))).toBe("rate_limited user_share");
    expect(places.enter(holder("b1", user("b")))).toBeUndefined();
    expect(begun).toEqual(["a1", "a2", "b1"]);
  });

  test("are given to one client with all its users up to the client's share", () => {
    const places = createPlaces({ maxUnderWay: 8, maxWaiting: 8, userShare: 1, clientShare: 0.25 });
    for (const name of ["a", "b", "c", "d"]) expect(places.enter(holder(name, user(name)))).toBeUndefined();
    expect(code(places.enter(holder("e", user("e"))))).toBe("rate_limited client_share");
    expect(places.enter(holder("f", user("f", "other")))).toBeUndefined();
    expect(begun).toEqual(["a", "b", "f"]);
  });

  test("that all are taken make a caller within its share wait, and are overloaded past the line", () => {
    const places = createPlaces({ maxUnderWay: 2, maxWaiting: 2, userShare: 0.5, clientShare: 1 });
    for (const name of ["a", "b", "c", "d"]) expect(places.enter(holder(name, user(name)))).toBeUndefined();
    const refusal = places.enter(holder("e", user("e")));
    expect(code(refusal)).toBe("overloaded downstream_queue_full");
    expect(refusal?.retryAfterSeconds).toBe(1);
  });

  test("without a line refuse the caller past its share as that, and another as overloaded", () => {
    const places = createPlaces({ maxUnderWay: 2, maxWaiting: 0, userShare: 0.5, clientShare: 1 });
    places.enter(holder("a", user("a")));
    expect(code(places.enter(holder("a", user("a"))))).toBe("rate_limited user_share");
    places.enter(holder("b", user("b")));
    expect(code(places.enter(holder("c", user("c"))))).toBe("overloaded downstream_queue_full");
  });

  test("go to those in line in the order of arrival, past those whose user holds its share", () => {
    const places = createPlaces({ maxUnderWay: 2, maxWaiting: 8, userShare: 0.5, clientShare: 1 });
    const first = holder("a1", user("a"));
    const other = holder("b1", user("b"));
    places.enter(first);
    places.enter(other);
    places.enter(holder("a2", user("a")));
    places.enter(holder("c1", user("c")));
    places.leave(other);
    expect(begun).toEqual(["a1", "b1", "c1"]);
    places.leave(first);
    expect(begun).toEqual(["a1", "b1", "c1", "a2"]);
  });

  test("given back twice are counted once", () => {
    const places = createPlaces({ maxUnderWay: 1, maxWaiting: 4, userShare: 1, clientShare: 1 });
    const first = holder("a", user("a"));
    places.enter(first);
    places.enter(holder("b", user("b")));
    places.leave(first);
    places.leave(first);
    places.enter(holder("c", user("c")));
    expect(begun).toEqual(["a", "b"]);
    expect(places.taken()).toBe(2);
  });
});

describe("a transport", () => {
  /** Sends a request for a user; resolves with a status or a refusal's code. */
  function sender(transport: Transport, api: DownstreamApiOptions) {
    return (name: string, transfers?: TransferObserver) => {
      const ends = createInbox<number | string>();
      const transfer = transport.send(
        {
          target: { api, origin: new URL(api.baseUrl).origin, path: `/${name}` },
          method: "GET",
          headers: [],
          body: undefined,
          record: {
            owner: user(name),
            transfers,
            trace: undefined,
            downstreamMs: undefined,
            downstreamRequestId: undefined,
            throttleMs: undefined,
          },
        },
        { head: (status) => ends.put(status), chunk() {}, end() {}, failed: (error) => ends.put(error.code) },
      );
      return { transfer, end: () => ends.next() };
    };
  }

  test("keeps an eighth of its places from no user, and the others from the first", async () => {
    const held = createInbox<http.ServerResponse>();
    const port = await startApi((request, response) => {
      if (request.url === "/greedy") held.put(response);
      else response.end();
    });
    const api = apiAt(port, { maxConcurrent: 16, maxWaiting: 16 });
    const send = sender(transportFor(api, { fairness: { userShare: 0.125, clientShare: 1 } }), api);
    const greedy = Array.from({ length: 40 }, () => send("greedy"));
    expect(await Promise.all(greedy.slice(4).map(({ end }) => end()))).toEqual(
      Array(36).fill("rate_limited"),
    );
    const others = Array.from({ length: 14 }, (_, index) => send(`user-${index}`));
    expect(await Promise.all(others.map(({ end }) => end()))).toEqual(Array(14).fill(200));
    for (let served = 0; served < 4; served++) (await held.next()).end();
    expect(await Promise.all(greedy.slice(0, 4).map(({ end }) => end()))).toEqual(Array(4).fill(200));
  });

  test("gives back the places of callers who leave, in line and under way, and counts nobody as waiting then", async () => {
    const asked = createInbox<string | undefined>();
    let isBack = false;
    const port = await startApi((request, response) => {
      asked.put(request.url);
      if (isBack) response.end();
    });
    let waiting = 0;
    const observer: TransferObserver = {
      sent: () => {
        waiting += 1;
      },
      left: () => {
        waiting -= 1;
      },
      repeated() {},
      answered() {},
      failed() {},
    };
    const api = apiAt(port, { maxConcurrent: 2, maxWaiting: 6 });
    const send = sender(transportFor(api), api);
    const leaving = Array.from({ length: 8 }, (_, index) => send(`leaving-${index}`, observer));
    await asked.next();
    await asked.next();
    expect(waiting).toBe(6);
    expect(await send("late").end()).toBe("overloaded");
    isBack = true;
    // The last one first, so that those in line leave from there.
    for (const { transfer } of leaving.toReversed()) transfer.abort();
    expect(waiting).toBe(0);
    const newcomers = Array.from({ length: 8 }, (_, index) => send(`new-${index}`));
    expect(await Promise.all(newcomers.map(({ end }) => end()))).toEqual(Array(8).fill(200));
  });

  test("gives back the places of requests that fail before an answer: more failures than places, and it calls on", async () => {
    let requests = 0;
    const port = await startApi((request, response) => {
      requests += 1;
      if (request.url === "/cut") request.socket.destroy();
      else response.end();
    });
    const api = apiAt(port, { maxConcurrent: 2, maxWaiting: 0, breaker: { failures: 0, openMs: 1 } });
    const send = sender(transportFor(api), api);
    for (let round = 0; round < 6; round++) expect(await send("cut").end()).toBe("downstream_unreachable");
    const unreachable = apiAt(1, { maxConcurrent: 1, maxWaiting: 0, breaker: { failures: 0, openMs: 1 } });
    const sendNowhere = sender(transportFor(unreachable), unreachable);
    for (let round = 0; round < 4; round++)
      expect(await sendNowhere("me").end()).toBe("downstream_unreachable");
    expect(await send("me").end()).toBe(200);
    expect(await send("me").end()).toBe(200);
    expect(requests).toBe(14);
  });
});
