/** Chunks of a body that are put together before anything else sees them. */

import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { joinTinyChunks } from "../../src/http/tiny-chunks.ts";

/** A packet as the system hands it over; a chunk is a view of it. */
const PACKET = Buffer.alloc(65_536, "a");
const chunkOf = (length: number) => PACKET.subarray(0, length);

function joining() {
  const request = new IncomingMessage(new Socket());
  joinTinyChunks(request);
  const pieces: Buffer[] = [];
  request.on("data", (piece: Buffer) => pieces.push(piece));
  return { request, pieces };
}

describe("chunks of a request's body", () => {
  test("that come in one turn of the event loop are one piece, and those of the next turn another", async () => {
    const { request, pieces } = joining();
    for (let chunk = 0; chunk < 600; chunk++) request.push(chunkOf(1));
    await turn();
    request.push(chunkOf(3));
    await turn();
    await turn();
    expect(pieces.map(({ length }) => length)).toEqual([600, 3]);
  });

  test("that are tiny do not keep the packet that they came in while they wait to be read", async () => {
    const request = new IncomingMessage(new Socket());
    joinTinyChunks(request);
    for (let packet = 0; packet < 200; packet++) {
      request.push(chunkOf(1));
      await turn();
    }
    const memory = new Set<ArrayBufferLike>();
    for (let read = request.read(1); read !== null; read = request.read(1)) memory.add(read.buffer);
    const bytes = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(memory.has(PACKET.buffer)).toBe(false);
    // Two of the pools that small buffers of Node 24 share; the packets would be 12 MiB.
    expect(bytes).toBeLessThanOrEqual(128 * 1024);
  });

  test("keep their order beside large ones and come before the end", async () => {
    const { request, pieces } = joining();
    let hasEnded = false;
    request.on("end", () => {
      hasEnded = true;
    });
    for (const text of ["one", "two", "x".repeat(2_000), "three"]) request.push(Buffer.from(text));
    request.push(null);
    await turn();
    await turn();
    expect(Buffer.concat(pieces).toString()).toBe(`onetwo${"x".repeat(2_000)}three`);
    expect(hasEnded).toBe(true);
  });

  test("that wait unread stop the sender once as many bytes wait as a stream takes", async () => {
    const request = new IncomingMessage(new Socket());
    joinTinyChunks(request);
    let pushed = 0;
    while (request.push(chunkOf(1_000)) && pushed < 1_000_000) {
      pushed += 1_000;
      await turn();
    }
    expect(pushed).toBeLessThan(2 * request.readableHighWaterMark);
  });
});
