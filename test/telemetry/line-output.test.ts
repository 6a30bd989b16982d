/** Lines on their way out: whole, in order, bounded in memory, and counted when they are lost. */

import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import {
  createLineOutput,
  type LineOutputOptions,
  type OutputEvent,
  type Put,
} from "../../src/telemetry/line-output.ts";

type Done = Parameters<Put>[1];

/** An output that does with each write what the test says, and remembers what it took. */
function device() {
  const pending: { readonly bytes: Buffer; readonly done: Done }[] = [];
  const parts: Buffer[] = [];
  const next = () => {
    const write = pending.shift();
    if (write === undefined) throw new Error("nothing is being written");
    return write;
  };
  const take = (length?: number) => {
    const { bytes, done } = next();
    const part = bytes.subarray(0, length);
    parts.push(Buffer.from(part));
    done(null, part.length);
  };
  return {
    put: ((bytes, done) => void pending.push({ bytes, done })) as Put,
    taken: () => Buffer.concat(parts).toString(),
    isWriting: () => pending.length > 0,
    /** Takes so many bytes of what is being written; all by default. */
    take,
    takeAll() {
      while (pending.length > 0) take();
    },
    fail: (code: string) => next().done(Object.assign(new Error(code), { code }), 0),
  };
}

function open(onFailure: LineOutputOptions["onFailure"] = "drop") {
  const events: OutputEvent[] = [];
  const out = device();
  const output = createLineOutput({ put: out.put, onFailure, onEvent: (event) => void events.push(event) });
  const lost = () => events.reduce((sum, event) => (event.type === "lost" ? sum + event.lines : sum), 0);
  return { ...out, output, events, lost };
}

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

const kilobyte = (mark: string) => `${mark.padEnd(1_023, "x")}\n`;

describe("an output that works", () => {
  test("is given lines together when 16 KiB are gathered, and in order", () => {
    const { output, takeAll, isWriting, taken } = open();
    const lines = Array.from({ length: 16 }, (_, index) => kilobyte(`${index} `));
    for (const line of lines.slice(0, 15)) output.write(line);
    expect(isWriting()).toBe(false);
    output.write(lines[15] as string);
    takeAll();
    expect(taken()).toBe(lines.join(""));
  });

  test("is given a line alone after a tenth of a second", () => {
    const { output, isWriting, takeAll, taken } = open();
    output.write("alone\n");
    jest.advanceTimersByTime(99);
    expect(isWriting()).toBe(false);
    jest.advanceTimersByTime(1);
    takeAll();
    expect(taken()).toBe("alone\n");
  });

  test("is flushed when the lines before have been taken, and not earlier", () => {
    const { output, take } = open();
    let isDone = false;
    output.write("one\n");
    output.flush(() => {
      isDone = true;
    });
    expect(isDone).toBe(false);
    take();
    expect(isDone).toBe(true);
  });

  test("is flushed at once when nothing waits", () => {
    const { output } = open();
    const done = jest.fn();
    output.flush(done);
    expect(done).toHaveBeenCalledTimes(1);
  });

  test("reports nothing", () => {
    const { output, takeAll, events } = open();
    output.write("one\n");
    output.flush();
    takeAll();
    expect(events).toEqual([]);
    expect(output.isFailing()).toBe(false);
  });
});

describe("an output that is blocked", () => {
  const MEBIBYTE = 2 ** 20;

  test("costs 8 MiB and no more; each line past it is counted, and the count is reported once it has caught up", () => {
    const { output, takeAll, events, lost, taken } = open();
    const line = kilobyte("");
    for (let count = 0; count < 10 * 1_024; count++) output.write(line);
    expect(lost()).toBe(2 * 1_024);
    expect(events.every((event) => event.type === "lost" && event.reason === "blocked")).toBe(true);
    takeAll();
    expect(taken()).toHaveLength(8 * MEBIBYTE);
    expect(events.at(-1)).toEqual({ type: "restored", lost: 2 * 1_024 });
    events.length = 0;
    output.write(line);
    output.flush();
    takeAll();
    expect(events).toEqual([]);
  });

  test("does not call back a flush before it takes the lines", () => {
    const { output, takeAll } = open();
    output.write("one\n");
    output.flush();
    output.write("two\n");
    const done = jest.fn();
    output.flush(done);
    jest.advanceTimersByTime(60_000);
    expect(done).not.toHaveBeenCalled();
    takeAll();
    expect(done).toHaveBeenCalledTimes(1);
  });

  test("ends after the limit, and what it did not take is lost", () => {
    const { output, events } = open();
    output.write("one\ntwo\n");
    output.flush();
    output.write("three\n");
    const done = jest.fn();
    output.end(1_000, done);
    jest.advanceTimersByTime(999);
    expect(done).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    expect(done).toHaveBeenCalledTimes(1);
    expect(events.at(-1)).toMatchObject({ type: "lost", reason: "ended" });
  });

  test("is at risk of loss once half of the room is taken", () => {
    const { output } = open("hold");
    const line = kilobyte("");
    for (let count = 0; count < 4 * 1_024; count++) output.write(line);
    expect(output.isFailing()).toBe(false);
    for (let count = 0; count < 32; count++) output.write(line);
    expect(output.isFailing()).toBe(true);
  });

  test("that says so instead of waiting is asked again after a tenth of a second, and nothing is lost", () => {
    const { output, fail, takeAll, taken, events } = open();
    output.write("one\n");
    output.flush();
    fail("EAGAIN");
    output.write("two\n");
    jest.advanceTimersByTime(100);
    takeAll();
    expect(taken()).toBe("one\ntwo\n");
    expect(events).toEqual([]);
  });
});

describe("an output that fails", () => {
  test.each(["ENOSPC", "EPIPE", "EIO", "EBADF"])(
    "with %s loses what it was given, and says so when it works again",
    (code) => {
      const { output, fail, takeAll, taken, events } = open();
      output.write("one\n");
      output.write("two\n");
      output.flush();
      fail(code);
      expect(events).toEqual([
        { type: "failed", reason: code },
        { type: "lost", lines: 2, reason: code },
      ]);
      expect(output.isFailing()).toBe(true);
      output.write("three\n");
      jest.advanceTimersByTime(100);
      takeAll();
      expect(taken()).toBe("three\n");
      expect(events.at(-1)).toEqual({ type: "restored", lost: 2 });
      expect(output.isFailing()).toBe(false);
    },
  );

  test("is reported once while it fails, and not again for each write", () => {
    const { output, fail, events } = open();
    for (let count = 0; count < 3; count++) {
      output.write("one\n");
      output.flush();
      fail("ENOSPC");
    }
    expect(events.filter(({ type }) => type === "failed")).toHaveLength(1);
    expect(events.filter(({ type }) => type === "lost")).toHaveLength(3);
  });

  test("does not hold up a flush, and an empty flush is no sign that it works", () => {
    const { output, fail, events } = open();
    const done = jest.fn();
    output.write("one\n");
    output.flush(done);
    fail("ENOSPC");
    expect(done).toHaveBeenCalledTimes(1);
    output.flush(done);
    expect(done).toHaveBeenCalledTimes(2);
    expect(events.some(({ type }) => type === "restored")).toBe(false);
    expect(output.isFailing()).toBe(true);
  });

  test("whose lines are held keeps them in order, tries every second, and loses none", () => {
    const { output, fail, takeAll, taken, isWriting, events, lost } = open("hold");
    output.write("one\n");
    output.flush();
    fail("ENOSPC");
    output.write("two\n");
    expect(output.isFailing()).toBe(true);
    for (let count = 0; count < 3; count++) {
      jest.advanceTimersByTime(999);
      expect(isWriting()).toBe(false);
      jest.advanceTimersByTime(1);
      fail("ENOSPC");
    }
    jest.advanceTimersByTime(1_000);
    takeAll();
    expect(taken()).toBe("one\ntwo\n");
    expect(lost()).toBe(0);
    expect(events).toEqual([
      { type: "failed", reason: "ENOSPC" },
      { type: "restored", lost: 0 },
    ]);
    expect(output.isFailing()).toBe(false);
  });

  test("whose lines are held costs 8 MiB and no more", () => {
    const { output, fail, lost } = open("hold");
    output.write("one\n");
    output.flush();
    fail("ENOSPC");
    for (let count = 0; count < 10 * 1_024; count++) output.write(kilobyte(""));
    expect(lost()).toBeGreaterThanOrEqual(2 * 1_024);
    expect(lost()).toBeLessThan(2 * 1_024 + 32);
  });

  test("when it ends, held lines are tried once more and counted", () => {
    const { output, fail, lost } = open("hold");
    output.write("one\n");
    output.flush();
    fail("ENOSPC");
    const done = jest.fn();
    output.end(1_000, done);
    fail("ENOSPC");
    expect(done).toHaveBeenCalledTimes(1);
    expect(lost()).toBe(1);
  });
});

describe("a line is never torn", () => {
  test("by a disk that takes a part and then nothing: the rest of the line goes first when it takes again", () => {
    const { output, take, fail, takeAll, taken, lost } = open();
    output.write("first\n");
    output.write("second\n");
    output.write("third\n");
    output.flush();
    take(9);
    fail("ENOSPC");
    expect(taken()).toBe("first\nsec");
    expect(lost()).toBe(1);
    output.write("fourth\n");
    output.flush();
    takeAll();
    expect(taken()).toBe("first\nsecond\nfourth\n");
  });

  test("by a part that ends with a line", () => {
    const { output, take, fail, takeAll, taken, lost } = open();
    output.write("first\n");
    output.write("second\n");
    output.flush();
    take(6);
    fail("ENOSPC");
    expect(lost()).toBe(1);
    output.write("third\n");
    output.flush();
    takeAll();
    expect(taken()).toBe("first\nthird\n");
  });

  test.each([1, 2, 3, 5, 7, 11])("by writes of %d bytes at most", (size) => {
    const { output, take, isWriting, taken } = open();
    const lines = ["a\n", "bcd\n", "efghijk\n", "é\n"];
    for (const line of lines) output.write(line);
    output.flush();
    while (isWriting()) take(size);
    expect(taken()).toBe(lines.join(""));
  });

  test("by an output that is exchanged: the end of a line whose beginning is elsewhere is lost with it", () => {
    const { output, take, fail, takeAll, taken, lost } = open();
    output.write("first\n");
    output.flush();
    take(3);
    fail("ENOSPC");
    output.beginAfresh();
    expect(lost()).toBe(1);
    output.write("second\n");
    output.flush();
    takeAll();
    expect(taken()).toBe("firsecond\n");
  });
});

test("after its end an output takes nothing more", () => {
  const { output, takeAll, taken } = open();
  output.write("one\n");
  const done = jest.fn();
  output.end(1_000, done);
  takeAll();
  output.write("two\n");
  output.flush();
  jest.runAllTimers();
  expect(taken()).toBe("one\n");
  expect(done).toHaveBeenCalledTimes(1);
});

test("what is left at the exit of the process is written at once, unless a write is under way", () => {
  const written: string[] = [];
  const out = device();
  const output = createLineOutput({
    put: out.put,
    putAtExit: (bytes) => void written.push(bytes.toString()),
    onFailure: "drop",
    onEvent() {},
  });
  output.write("one\n");
  output.writeAtExit();
  expect(written).toEqual(["one\n"]);
  output.write("two\n");
  output.flush();
  output.write("three\n");
  output.writeAtExit();
  expect(written).toEqual(["one\n"]);
});
