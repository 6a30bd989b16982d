/** A small picture that differs for every seed: real bytes for a client to carry unharmed. */

import { createHash } from "node:crypto";
import { deflateSync } from "node:zlib";

const SIDE = 48;

export function squarePng(seed: string): Buffer {
  const noise = createHash("sha256").update(seed).digest();
  const header = Buffer.alloc(13);
  header.writeUInt32BE(SIDE, 0);
  header.writeUInt32BE(SIDE, 4);
  // Eight bits, true colour, no interlacing.
  header.set([8, 2, 0, 0, 0], 8);
  const rows = Buffer.alloc(SIDE * (1 + SIDE * 3));
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE * 3; x++) {
      rows[y * (1 + SIDE * 3) + 1 + x] = (noise[(x >> 3) % 32] ?? 0) ^ (noise[(y >> 3) % 32] ?? 0) ^ x;
    }
  }
  return Buffer.concat([
    Buffer.from("89504e470d0a1a0a", "hex"),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, content: Buffer): Buffer {
  const framed = Buffer.concat([Buffer.from(type, "ascii"), content]);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(content.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(framed));
  return Buffer.concat([size, framed, checksum]);
}

/** zlib offers it only from Node 22 on. */
function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
