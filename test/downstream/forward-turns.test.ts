/** Answers that bring much at once leave time for other work. */

import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { AnswerHeaders } from "../../src/downstream/contract.ts";
import { AnswerWriter, type WrittenAnswer } from "../../src/downstream/forward.ts";
import { RESPONSE_RULES } from "../../src/downstream/headers/header-rules.ts";
import { loopTurns } from "../../src/foundation/turns.ts";

// A turn of the event loop begins work for so many ms. On a busy machine they pass between two lines of a test.
beforeEach(() => void jest.spyOn(performance, "now").mockReturnValue(performance.now()));
afterEach(() => void jest.restoreAllMocks());

const KIB = 1024;

/** A writer whose caller takes everything, and what it asked of the source of its answer. `write` is what that answers. */
function setUp(rewrite?: WrittenAnswer["rewrite"], write = true, headers: AnswerHeaders = {}) {
  const asked: string[] = [];
  const outgoing = new ServerResponse(new IncomingMessage(new Socket()));
  outgoing.write = () => write;
  const answer = {
    status: 200,
    headers,
    rules: RESPONSE_RULES,
    rewrite,
    challenge: undefined,
    own: undefined,
  };
  const writer = new AnswerWriter(
    outgoing,
    { ...answer, correlationId: "c", user: "ada" },
    {
      streaming() {},
      pause: () => void asked.push("pause"),
      resume: () => void asked.push("resume"),
    },
  );
  writer.chunk(Buffer.alloc(KIB));
  writer.flush();
  asked.length = 0;
  return { writer, asked, drain: () => outgoing.emit("drain") };
}

test("a large chunk is the last of its turn while other work waits", async () => {
  const { writer, asked } = setUp();
  loopTurns.wait("grace", () => asked.push("other work"));
  writer.chunk(Buffer.alloc(64 * KIB));
  expect(asked).toEqual(["pause"]);
  await nextTurn();
  expect(asked).toEqual(["pause", "other work", "resume"]);
});

test("large chunks follow each other while no other work waits, and small ones always do", async () => {
  const { writer, asked } = setUp();
  await nextTurn();
  writer.chunk(Buffer.alloc(64 * KIB));
  loopTurns.wait("grace", () => asked.push("other work"));
  writer.chunk(Buffer.alloc(16 * KIB - 1));
  expect(asked).toEqual([]);
  await nextTurn();
  expect(asked).toEqual(["other work"]);
});

test("a turn asks for chunks of eight answers, and the next one for the rest", async () => {
  const writers = Array.from({ length: 15 }, () => setUp());
  const resumed = () => writers.filter(({ asked }) => asked.includes("resume")).length;
  await nextTurn();
  loopTurns.wait("grace", () => {});
  for (const { writer } of writers) writer.chunk(Buffer.alloc(64 * KIB));
  expect(resumed()).toBe(0);
  await nextTurn();
  expect(resumed()).toBe(8);
  await nextTurn();
  expect(resumed()).toBe(15);
});

test("a large chunk that the system takes within the turn is the last of its turn nevertheless", async () => {
  const { writer, asked, drain } = setUp(undefined, false);
  drain();
  asked.length = 0;
  loopTurns.wait("grace", () => asked.push("other work"));
  writer.chunk(Buffer.alloc(64 * KIB));
  drain();
  expect(asked).toEqual(["pause"]);
  await nextTurn();
  expect(asked).toEqual(["pause", "other work", "resume"]);
});

test("a caller who takes a chunk late is given the next one at once, where no other work waits", async () => {
  const { writer, asked, drain } = setUp(undefined, false);
  drain();
  asked.length = 0;
  writer.chunk(Buffer.alloc(64 * KIB));
  await nextTurn();
  expect(asked).toEqual(["pause"]);
  drain();
  expect(asked).toEqual(["pause", "resume"]);
});

describe("a large chunk that the system does not take at once", () => {
  test.each([
    ["less than 16 KiB, is followed by it within its turn", 16 * KIB - 1, []],
    ["16 KiB, is the last of its turn", 16 * KIB, ["pause"]],
  ])("and behind which the answer has %s", async (_, left, expected) => {
    const { writer, asked, drain } = setUp(undefined, false, {
      "content-length": `${KIB + 64 * KIB + left}`,
    });
    drain();
    asked.length = 0;
    loopTurns.wait("grace", () => {});
    writer.chunk(Buffer.alloc(64 * KIB));
    expect(asked).toEqual(expected);
    await nextTurn();
  });
});

test("a rewritten chunk is the last of its turn in any case", async () => {
  const { writer, asked } = setUp({
    body: () => ({ push: (chunk) => chunk, flush: () => Buffer.alloc(0) }),
    fields: (_status, headers) => headers,
    field: (_name, value) => value,
  });
  await nextTurn();
  asked.length = 0;
  writer.chunk(Buffer.alloc(KIB));
  expect(asked).toEqual(["pause"]);
  await nextTurn();
  expect(asked).toEqual(["pause", "resume"]);
});
