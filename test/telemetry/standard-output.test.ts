import { Writable } from "node:stream";
import { expect, jest, test } from "@jest/globals";
import { gatherLines } from "../../src/telemetry/standard-output.ts";

function reader() {
  const pieces: string[] = [];
  const taken: (() => void)[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(piece: string, _encoding, done) {
      pieces.push(piece);
      taken.push(done);
    },
  });
  return { stream, pieces, take: () => taken.shift()?.() };
}

test("lines go out together when a piece is full, and in order", () => {
  const { stream, pieces } = reader();
  const sink = gatherLines(stream);
  const line = `${"x".repeat(1_023)}\n`;
  for (let count = 0; count < 15; count++) sink.write(line);
  expect(pieces).toEqual([]);
  sink.write(line);
  expect(pieces).toEqual([line.repeat(16)]);
});

test("a line alone waits a tenth of a second at most", () => {
  jest.useFakeTimers();
  try {
    const { stream, pieces } = reader();
    gatherLines(stream).write("alone\n");
    jest.advanceTimersByTime(99);
    expect(pieces).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(pieces).toEqual(["alone\n"]);
  } finally {
    jest.useRealTimers();
  }
});

test("a flush is done when the lines before it have been taken", async () => {
  const { stream, pieces, take } = reader();
  const sink = gatherLines(stream);
  sink.write("one\n");
  let isDone = false;
  const done = new Promise<void>((resolve) =>
    sink.flush(() => {
      isDone = true;
      resolve();
    }),
  );
  expect(pieces).toEqual(["one\n"]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(isDone).toBe(false);
  take();
  await done;
});

test("a reader that takes nothing costs eight megabytes of lines and no more", () => {
  const { stream } = reader();
  const sink = gatherLines(stream);
  const line = `${"x".repeat(99_999)}\n`;
  for (let count = 0; count < 200; count++) sink.write(line);
  expect(stream.writableLength).toBeGreaterThan(8_000_000);
  expect(stream.writableLength).toBeLessThan(8 * 1024 * 1024 + 2 * line.length);
});
