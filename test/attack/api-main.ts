/**
 * The downstream API as a process: the path says how it answers. Its size in bytes and its pause in ms come by query. Behind
 * a real API stand many machines, and its large answers are none of what its small ones wait for: here they leave in slices,
 * a few in each turn of the event loop.
 */

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { HONEST_BODY } from "./honest-answer.ts";
import { hostileDocument, isHostileKind } from "./hostile-documents.ts";

const JSON_TYPE = "application/json";
const CHUNK_BYTES = 64 * 1024;
const LARGE_BATCH_BYTES = 256 * 1024;
const LARGE_BATCH_MS = 3_000;

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://api.test");
  const bytes = Number(url.searchParams.get("bytes") ?? 1024);
  const mood = url.pathname.split("/").at(-1) ?? "";
  const answer = () => {
    if (mood === "slow") {
      const timer = setTimeout(() => json(response, HONEST_BODY), Number(url.searchParams.get("ms")));
      response.once("close", () => clearTimeout(timer));
    } else if (mood === "big") sendLarge(response, [filling(bytes)]);
    else if (mood === "links") sendDocument(response, url, bytes);
    else if (mood === "challenged") challenge(response, url.searchParams.get("since"));
    else json(response, HONEST_BODY);
  };
  if (mood === "$batch") {
    const chunks: Buffer[] = [];
    request
      .on("data", (chunk: Buffer) => chunks.push(chunk))
      .on("end", () => batch(response, Buffer.concat(chunks)));
  } else request.resume().on("end", answer);
});
server.keepAliveTimeout = 120_000;
server.on("clientError", (_error, socket) => socket.destroy());
server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => {
  process.send?.({ kind: "port", value: (server.address() as AddressInfo).port });
});
process.on("disconnect", () => process.exit(0));

function json(response: ServerResponse, body: Buffer | string): void {
  response.writeHead(200, { "content-type": JSON_TYPE, "content-length": Buffer.byteLength(body) });
  response.end(body);
}

const made = new Map<string, Buffer>();

/** Made once: an API that is busy with making answers would be what the second user waits for. */
function once(name: string, make: () => Buffer): Buffer {
  const known = made.get(name) ?? make();
  made.set(name, known);
  return known;
}

function filling(bytes: number): Buffer {
  return once(`filling ${bytes}`, () => Buffer.from(`"${"a".repeat(Math.max(0, bytes - 2))}"`));
}

function documentOf(kind: string | null, bytes: number): Buffer {
  if (!isHostileKind(kind)) throw new Error(`no document of kind ${kind}`);
  return once(`${kind} ${bytes}`, () => Buffer.from(hostileDocument(kind, bytes)));
}

function sendDocument(response: ServerResponse, url: URL, bytes: number): void {
  const document = documentOf(url.searchParams.get("kind"), bytes);
  const split = Number(url.searchParams.get("split") ?? CHUNK_BYTES);
  response.writeHead(200, { "content-type": JSON_TYPE, "content-length": document.length });
  response.socket?.setNoDelay(true);
  let at = 0;
  const writeOn = () => {
    if (response.destroyed) return;
    const piece = document.subarray(at, at + split);
    at += split;
    if (at >= document.length) response.end(piece);
    else if (response.write(piece)) setImmediate(writeOn);
    else response.once("drain", writeOn);
  };
  writeOn();
}

/** Continuous access evaluation: only tokens issued since are good enough. */
function challenge(response: ServerResponse, since: string | null): void {
  const claims = Buffer.from(
    JSON.stringify({ access_token: { nbf: { essential: true, value: since ?? "1600000000" } } }),
  ).toString("base64");
  response.writeHead(401, {
    "www-authenticate": `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="${claims}"`,
    "content-type": JSON_TYPE,
  });
  response.end("{}");
}

/** Each part is answered by what its URL asks for. A large batch is not looked into, and answered late, as by an API that is busy. */
function batch(response: ServerResponse, body: Buffer): void {
  if (body.length > LARGE_BATCH_BYTES) {
    setTimeout(() => json(response, '{"responses":[{"id":"1","status":200,"body":{}}]}'), LARGE_BATCH_MS);
    return;
  }
  let requests: readonly { id: string; url: string }[];
  try {
    requests = JSON.parse(body.toString()).requests;
  } catch {
    response.writeHead(400).end();
    return;
  }
  const parts = requests.flatMap(({ id, url }, index) => {
    const asked = new URL(url, "http://api.test");
    const bytes = Number(asked.searchParams.get("bytes") ?? 1024);
    const kind = asked.searchParams.get("kind");
    const head = `${index === 0 ? "" : ","}{"id":${JSON.stringify(id)},"status":200,"headers":{"Content-Type":"application/json"},"body":`;
    return [Buffer.from(head), kind === null ? filling(bytes) : documentOf(kind, bytes), Buffer.from("}")];
  });
  sendLarge(response, [Buffer.from('{"responses":['), ...parts, Buffer.from("]}")]);
}

const SLICE_BYTES = 64 * 1024;
const SLICES_IN_A_TURN = 4;
/** Large answers that can go on, in turn. */
let sending: (() => void)[] = [];
let isScheduled = false;

function sendLarge(response: ServerResponse, pieces: readonly Buffer[]): void {
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  response.writeHead(200, { "content-type": JSON_TYPE, "content-length": bytes });
  const slices = slicesOf(pieces);
  const sendOne = () => {
    if (response.destroyed) return;
    const { done, value } = slices.next();
    if (done === true) response.end();
    else if (response.write(value)) goOn(sendOne);
    else response.once("drain", () => goOn(sendOne));
  };
  goOn(sendOne);
}

function* slicesOf(pieces: readonly Buffer[]): Generator<Buffer, undefined> {
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += SLICE_BYTES) yield piece.subarray(at, at + SLICE_BYTES);
  }
}

function goOn(sendOne: () => void): void {
  sending.push(sendOne);
  if (!isScheduled) setImmediate(sendSlices);
  isScheduled = true;
}

function sendSlices(): void {
  isScheduled = false;
  const first = sending.slice(0, SLICES_IN_A_TURN);
  sending = sending.slice(SLICES_IN_A_TURN);
  for (const sendOne of first) sendOne();
  if (sending.length > 0 && !isScheduled) setImmediate(sendSlices);
  isScheduled ||= sending.length > 0;
}
