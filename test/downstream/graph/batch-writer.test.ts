/** A large answer to a batch is written in slices, between which other work has its turn. */

import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { writeInTurns } from "../../../src/downstream/graph/batch-writer.ts";
import { loopTurns } from "../../../src/foundation/turns.ts";

const KIB = 1024;
const SLICE = 64 * KIB;

/** A caller who takes all that is written; `says` is what `write` answers, and `true` needs no drain. */
function caller(says: boolean) {
  const written: number[] = [];
  const outgoing = Object.assign(new EventEmitter(), {
    destroyed: false,
    write(bytes: Buffer) {
      written.push(bytes.length);
      if (!says) process.nextTick(() => outgoing.emit("drain"));
      return says;
    },
  });
  return { outgoing: outgoing as unknown as ServerResponse, written };
}

/** Work of another user in each turn of the event loop; notes how much was written since the one before. */
function otherWork(written: readonly number[]) {
  const perTurn: number[] = [];
  let seen = 0;
  let isOver = false;
  const work = () => {
    perTurn.push(written.length - seen);
    seen = written.length;
    // As long as pieces of work begin in one turn, so that the next one belongs to a turn of its own.
    for (const end = performance.now() + 4; performance.now() < end; );
    if (!isOver) loopTurns.wait("ada", work);
  };
  loopTurns.wait("ada", work);
  return {
    stop() {
      isOver = true;
      return perTurn;
    },
  };
}

describe("a large answer", () => {
  test.each([
    ["takes it at once", true],
    ["takes it at once, which the system says a tick later", false],
  ])("to a caller who %s is written a slice for each turn of another user", async (_, says) => {
    const { outgoing, written } = caller(says);
    const other = otherWork(written);
    const options = { rewriter: undefined, idleMs: 1_000, owner: "mallory" };
    await writeInTurns(outgoing, [Buffer.alloc(20 * SLICE), Buffer.alloc(10)], options);
    // The other user's work sees what was written last.
    for (let turn = 0; turn < 3; turn++) await nextTurn();
    // Two where the users change places in between.
    expect(Math.max(...other.stop())).toBeLessThanOrEqual(2);
    expect(written.reduce((sum, bytes) => sum + bytes, 0)).toBe(20 * SLICE + 10);
  });

  test("in small pieces is written in one turn", async () => {
    const { outgoing, written } = caller(true);
    const pieces = Array.from({ length: 20 }, () => Buffer.alloc(KIB));
    const done = writeInTurns(outgoing, pieces, { rewriter: undefined, idleMs: 1_000, owner: "mallory" });
    expect(written).toHaveLength(20);
    await done;
  });
});
