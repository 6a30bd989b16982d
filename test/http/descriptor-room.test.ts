/** How many connections are taken, by the descriptors that the process may open. */

import { expect, test } from "@jest/globals";
import type { FileDescriptors } from "../../src/foundation/file-descriptors.ts";
import { createDescriptorRoom } from "../../src/http/descriptor-room.ts";

function open(first: FileDescriptors | undefined, configured = 8_192) {
  const state = { descriptors: first, time: 0 };
  const lines: [level: string, facts: object][] = [];
  const room = createDescriptorRoom(
    configured,
    { info: (facts) => void lines.push(["info", facts]), warn: (facts) => void lines.push(["warn", facts]) },
    () => state.descriptors,
    () => state.time,
  );
  return { state, lines, room };
}

test("the configured number is taken where descriptors are enough, or not shown", () => {
  for (const descriptors of [{ limit: 100_000, open: 30 }, undefined]) {
    const { room, lines } = open(descriptors);
    expect(room()).toEqual({ max: 8_192, idleGivesWay: "after seconds" });
    expect(lines).toEqual([]);
  }
});

test("fewer are taken where descriptors are few, idle ones give way at once, and one line says so", () => {
  const { room, lines } = open({ limit: 64, open: 22 });
  expect(room()).toEqual({ max: 12, idleGivesWay: "at once" });
  room();
  expect(lines).toEqual([["warn", { descriptors: 64, connections: 12, configured: 8_192 }]]);
});

test("a limit that is enough for an ordinary front end is information", () => {
  expect(open({ limit: 1_024, open: 30 }).lines.map(([level]) => level)).toEqual(["info"]);
});

test("a limit that is lowered later is noticed within a quarter of a second; open connections are not counted twice", () => {
  const { state, room, lines } = open({ limit: 100_000, open: 22 });
  state.descriptors = { limit: 64, open: 60 };
  state.time = 249;
  expect(room().max).toBe(8_192);
  state.time = 250;
  expect(room()).toEqual({ max: 12, idleGivesWay: "at once" });
  expect(lines).toHaveLength(1);
  state.descriptors = { limit: 100_000, open: 60 };
  state.time = 500;
  expect(room()).toEqual({ max: 8_192, idleGivesWay: "after seconds" });
});
