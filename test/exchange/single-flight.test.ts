import { getEventListeners } from "node:events";
import { expect, test } from "@jest/globals";
import { createSingleFlight } from "../../src/exchange/flight.ts";

const never = () => new Promise<string>(() => {});

test("a caller whose signal has fired before boarding does not wait", async () => {
  const { board } = createSingleFlight<string>();
  const { result } = board("key", never, AbortSignal.abort(new Error("gone")));
  await expect(result).rejects.toThrow("gone");
});

test("a signal that outlives many flights keeps no listener of theirs", async () => {
  const { board, size } = createSingleFlight<string>();
  const { signal } = new AbortController();
  await board("granted", async () => "token", signal).result;
  await board("refused", () => Promise.reject(new Error("refused")), signal).result.catch(() => {});
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  expect(size()).toBe(0);
});

test("a signal that fired keeps no listener of a flight that goes on", async () => {
  const { board } = createSingleFlight<string>();
  const leaver = new AbortController();
  const left = board("key", never, leaver.signal).result.catch((reason: Error) => reason.message);
  leaver.abort(new Error("gone"));
  expect(await left).toBe("gone");
  expect(getEventListeners(leaver.signal, "abort")).toHaveLength(0);
});

test("flights of different keys know nothing of each other", async () => {
  const { board, has } = createSingleFlight<string>();
  board("stuck", never);
  expect(await board("key", async () => "token").result).toBe("token");
  expect([has("stuck"), has("key")]).toEqual([true, false]);
});
