/** What a slow request of the second user is said to have waited for. */

import { expect, test } from "@jest/globals";
import { type Journey, type Passages, whereText } from "./where.ts";

const WINDOW = { from: 1_000, until: 2_000, most: 2 };

const kept: Journey = {
  id: "second-user-1",
  dueAt: 1_100,
  sentAt: 1_101,
  connectedAt: undefined,
  isNewConnection: false,
  isNewcomer: false,
  endedAt: 1_150,
  isServed: true,
};
const passages: Passages = {
  accepts: [1_102, 1_103, 1_180, 1_300],
  passages: [
    ["second-user-1", { accepted: 10, head: 1_105, forwarded: 1_125, apiAnswered: 1_130, written: 1_149 }],
    ["second-user-2", { accepted: 1_180, head: 1_181 }],
  ],
  stops: [],
};

test("each step of a request on a connection that was kept is a part of its time", () => {
  expect(whereText([kept], passages, WINDOW)).toEqual([
    "due after 100 ms, 50 ms: sent 1.0, head 4.0, forwarded 20.0, API 5.0, written 19.0, ended 1.0",
  ]);
});

test("a new connection is shown with how many were accepted before it, and a step that did not come is left out", () => {
  const fresh = {
    ...kept,
    id: "second-user-2",
    isNewConnection: true,
    connectedAt: 1_102,
    isNewcomer: true,
    isServed: false,
    endedAt: 1_200,
  };
  expect(whereText([fresh], passages, WINDOW)).toEqual([
    "due after 100 ms, 100 ms: sent 1.0, connected 1.0, accepted behind 2 78.0, head 1.0, ended 19.0 " +
      "(NOT SERVED, new connection, newcomer)",
  ]);
});

test("the slowest of the window come first, those without an answer before all, and no more than are asked for", () => {
  const all = [
    { ...kept, dueAt: 999, endedAt: 5_000 },
    { ...kept, dueAt: 1_200, endedAt: 1_210 },
    { ...kept, dueAt: 1_300, endedAt: 1_340 },
    { ...kept, dueAt: 1_400, endedAt: 1_405, isServed: false },
    { ...kept, dueAt: 2_000, endedAt: 5_000 },
  ];
  const lines = whereText(all, { accepts: [], passages: [], stops: [] }, WINDOW);
  expect(lines.map((line) => line.slice(0, 16))).toEqual(["due after 400 ms", "due after 300 ms"]);
});

test("newcomers, who wait for Entra, stand behind the steady user's requests and take none of their lines", () => {
  const all = [
    { ...kept, dueAt: 1_100, endedAt: 3_100, isNewcomer: true },
    { ...kept, dueAt: 1_200, endedAt: 1_210 },
    { ...kept, dueAt: 1_300, endedAt: 3_310, isNewcomer: true },
    { ...kept, dueAt: 1_400, endedAt: 1_420 },
    { ...kept, dueAt: 1_500, endedAt: 3_501, isNewcomer: true },
  ];
  const lines = whereText(all, { accepts: [], passages: [], stops: [] }, WINDOW);
  expect(lines.map((line) => line.slice(0, 16))).toEqual([
    "due after 400 ms",
    "due after 200 ms",
    "due after 300 ms",
    "due after 500 ms",
  ]);
});

test("what stopped the gateway for longest in the window is said behind them", () => {
  const stops = [
    { what: "turns", at: 1_010, ms: 20 },
    { what: "garbage collection", at: 1_020, ms: 51.4 },
    { what: "turns", at: 999, ms: 500 },
  ];
  expect(whereText([], { ...passages, stops }, WINDOW)).toEqual([
    "stopped after 20 ms for 51 ms: garbage collection",
    "stopped after 10 ms for 20 ms: turns",
  ]);
});
