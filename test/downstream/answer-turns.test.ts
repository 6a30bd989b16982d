/** Answers to requests of our own making wait for the turn of their user, on the wire. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import type { AnswerReceiver, Transport, TransportRequest } from "../../src/downstream/contract.ts";
import { openAnswer } from "../../src/downstream/forward/answer.ts";
import { loopTurns } from "../../src/foundation/turns.ts";

/** Of the answers of a test, which would wait out their limits of time. */
const ends: (() => void)[] = [];

// A turn of the event loop begins work for so many ms. On a busy machine they pass between two lines of a test.
beforeEach(() => void jest.spyOn(performance, "now").mockReturnValue(performance.now()));
afterEach(() => {
  jest.restoreAllMocks();
  for (const end of ends.splice(0)) end();
});

const KIB = 1024;
const LIMITS = { timeoutMs: 60_000, idleTimeoutMs: 60_000, signal: undefined };
const REQUEST = { record: { owner: { user: "ada", client: "c" } } } as unknown as TransportRequest;

/** A request whose transport is in the test's hands, and what was asked of that. */
function ask(asked: string[] = []) {
  let receiver: AnswerReceiver | undefined;
  const transport = {
    send(_request: TransportRequest, given: AnswerReceiver) {
      receiver = given;
      return {
        pause: () => void asked.push("pause"),
        resume: () => void asked.push("resume"),
        abort: () => void asked.push("abort"),
      };
    },
  } as unknown as Transport;
  const answered = openAnswer(transport, REQUEST, LIMITS);
  answered.catch(() => {});
  ends.push(() => receiver?.failed(new Error("over") as never));
  return { asked, answered, receiver: receiver as unknown as AnswerReceiver };
}

test("an answer is read no further until its turn while other work waits, and then read at once", async () => {
  const { asked, answered, receiver } = ask();
  loopTurns.wait("grace", () => asked.push("other work"));
  void answered.then(() => asked.push("answered"));
  receiver.head(200, {});
  expect(asked).toEqual(["pause"]);
  await nextTurn();
  expect(asked).toEqual(["pause", "other work", "resume", "answered"]);
});

test("an answer is not held up while no other work waits", async () => {
  await nextTurn();
  const { asked, answered, receiver } = ask();
  receiver.head(200, {});
  expect((await answered).status).toBe(200);
  expect(asked).toEqual([]);
});

test("a reader who has taken what is there gets more in the next turn while other work waits", async () => {
  await nextTurn();
  const { asked, answered, receiver } = ask();
  receiver.head(200, {});
  const { body } = await answered;
  receiver.chunk(Buffer.alloc(64 * KIB));
  expect(asked).toEqual(["pause"]);
  loopTurns.wait("grace", () => asked.push("other work"));
  expect(body.read()).toHaveLength(64 * KIB);
  expect(asked).toEqual(["pause"]);
  await nextTurn();
  expect(asked).toEqual(["pause", "other work", "resume"]);
  body.destroy();
});

test("an answer that is given up while it waits is not gone on with", async () => {
  const asked: string[] = [];
  const { receiver, answered } = ask(asked);
  loopTurns.wait("grace", () => receiver.failed(new Error("cut") as never));
  receiver.head(200, {});
  await expect(answered).rejects.toThrow("cut");
  await nextTurn();
  expect(asked).not.toContain("resume");
});
