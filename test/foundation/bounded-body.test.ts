/** A body is read whole or not at all. */

import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { type BoundedBodyOptions, readBoundedBody } from "../../src/foundation/bounded-body.ts";

const failed = (failure: string) => new Error(failure);

function begin(options: Partial<BoundedBodyOptions> = {}) {
  const body = new PassThrough();
  const read = readBoundedBody(body as unknown as IncomingMessage, { maxBytes: 4, failed, ...options });
  read.catch(() => {});
  return { body, read };
}

describe("a bounded body", () => {
  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate", "queueMicrotask"] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test("is read whole up to its last allowed byte", async () => {
    const { body, read } = begin();
    body.write("ab");
    body.end("cd");
    expect((await read).toString()).toBe("abcd");
    expect(jest.getTimerCount()).toBe(0);
  });

  test("is refused one byte past that, and the rest is taken off the wire", async () => {
    const { body, read } = begin();
    body.write("abcde");
    await expect(read).rejects.toThrow("too_large");
    const ended = once(body, "end");
    body.end("f".repeat(100_000));
    await ended;
  });

  test("is refused when it breaks off", async () => {
    const { body, read } = begin();
    body.write("ab");
    body.destroy();
    await expect(read).rejects.toThrow("cut");
  });

  test("is refused when it had broken off before", async () => {
    const body = new PassThrough();
    body.destroy();
    await once(body, "close");
    await expect(
      readBoundedBody(body as unknown as IncomingMessage, { maxBytes: 4, failed, timeoutMs: 5 }),
    ).rejects.toThrow("cut");
    expect(jest.getTimerCount()).toBe(0);
  });

  test("may pause as long as it goes on in time, and is refused past its time as a whole", async () => {
    const { body, read } = begin({ idleMs: 10, timeoutMs: 25 });
    for (const piece of ["a", "b"]) {
      jest.advanceTimersByTime(9);
      const taken = once(body, "data");
      body.write(piece);
      await taken;
    }
    jest.advanceTimersByTime(7);
    await expect(read).rejects.toThrow("stalled");
  });

  test("is refused past its longest pause", async () => {
    const { read } = begin({ idleMs: 10 });
    jest.advanceTimersByTime(10);
    await expect(read).rejects.toThrow("stalled");
  });

  test("fails as the account of its bytes does", async () => {
    const { body, read } = begin({
      take(bytes) {
        if (bytes > 1) throw new Error(`no memory for ${bytes}`);
      },
    });
    body.write("ab");
    await expect(read).rejects.toThrow("no memory for 2");
  });
});
