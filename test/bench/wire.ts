/** The two ends of a benchmark, as thin as TCP allows: what they cost is taken from nobody's share but their own core. */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { percentile } from "./statistics.ts";

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const END_OF_CHUNKS = Buffer.from("0\r\n\r\n");
const POST = Buffer.from("POST ");
const READ_BYTES = 64 * 1024;
/** Longest wait for one answer; a server that hangs must not hang the run. */
const ANSWER_LIMIT_MS = 30_000;

export interface FixedApi {
  readonly url: string;
  /** From now on every answer has so many bytes, or these. */
  answerWith(body: number | Buffer): void;
  close(): void;
}

/** How the body of every POST to a fixed API has to end: none of its requests is read further. */
export const END_OF_POST = Buffer.from("]}");

/** A downstream API that answers every GET, and every POST with a body that ends as agreed, with the same bytes at once. */
export async function startFixedApi(bodyBytes: number): Promise<FixedApi> {
  let answer = fixedAnswer(Buffer.alloc(bodyBytes, "a"));
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    let end = END_OF_HEAD;
    let isInside = false;
    socket.on("data", (chunk) => {
      if (!isInside) end = chunk.subarray(0, POST.length).equals(POST) ? END_OF_POST : END_OF_HEAD;
      // Callers here have one request under way per connection; it may still come in several pieces.
      isInside = !chunk.subarray(-end.length).equals(end);
      if (!isInside) socket.write(answer);
    });
  });
  server.listen(0, "127.0.0.1", 4_096);
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answerWith(body) {
      answer = fixedAnswer(typeof body === "number" ? Buffer.alloc(body, "a") : body);
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function fixedAnswer(body: Buffer): Buffer {
  const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/** Requests that are sent one after the other, round and round, so that a server's caches see many users. */
export interface Rotation {
  readonly users: number;
  next(): Buffer;
}

/** @param fields Further lines of each head, each with its line break. */
export function rotate(path: string, tokens: readonly string[], fields = ""): Rotation {
  return inTurn(
    tokens.map((token) =>
      Buffer.from(
        `GET ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\n${fields}\r\n`,
      ),
    ),
  );
}

/** The same of POST requests, which all bring one text of JSON. */
export function rotatePosts(path: string, tokens: readonly string[], json: string): Rotation {
  const fields = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}\r\n`;
  return inTurn(
    tokens.map((token) =>
      Buffer.from(
        `POST ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\n${fields}\r\n${json}`,
      ),
    ),
  );
}

function inTurn(requests: readonly Buffer[]): Rotation {
  let next = 0;
  return {
    users: requests.length,
    next() {
      if (next === requests.length) next = 0;
      return requests[next++] as Buffer;
    },
  };
}

export interface LoadOptions {
  readonly rotation: Rotation;
  /** Requests begin at this rate, as long as a connection is free. Default: as soon as the one before was answered. */
  readonly perSecond?: number | undefined;
  /** Ends after so many ms or after so many requests, whichever comes first. */
  readonly until: { readonly ms?: number; readonly requests?: number };
  /** Bytes that the body of every answer must have; one that comes in chunks has more, for their lengths. */
  readonly bodyBytes: number;
  /** Called between the opening of the connections and the first request. */
  readonly onStart?: () => void;
}

export interface LoadResult {
  readonly requests: number;
  /** Answers with another status than 200 or a body of another length. */
  readonly refused: number;
  readonly seconds: number;
  /** Latency in ms. */
  readonly p50: number;
  readonly p99: number;
}

/** Connections to one server, which stay open from one load to the next, as a balancer's do. */
export interface Callers {
  /** Keeps one request under way on each connection until the end, or fewer at a steady rate, and counts. */
  load(options: LoadOptions): Promise<LoadResult>;
  close(): void;
}

export interface CallersOptions {
  readonly port: number;
  readonly connections: number;
}

/** Opens so many connections, puts a load on them, and closes them. */
export async function load(options: LoadOptions & CallersOptions): Promise<LoadResult> {
  const callers = connectCallers(options);
  try {
    return await callers.load(options);
  } finally {
    callers.close();
  }
}

/** Connections are opened before the first load, and anew before a later one where the server has closed them meanwhile. */
export function connectCallers({ port, connections }: CallersOptions): Callers {
  let callers: Caller[] = [];
  // One for all connections: it is read before the next one is filled.
  const buffer = Buffer.allocUnsafe(READ_BYTES);

  async function connectAll(): Promise<void> {
    callers = callers.filter((caller) => caller.isOpen());
    // In batches that fit into the backlog of any listener: a connection past it waits a second for its next try.
    while (callers.length < connections) {
      const batch = Math.min(64, connections - callers.length);
      callers.push(...(await Promise.all(Array.from({ length: batch }, () => openCaller(port, buffer)))));
    }
  }

  return {
    async load(options) {
      await connectAll();
      return putLoad(callers, options);
    },
    close() {
      for (const caller of callers) caller.close();
      callers = [];
    },
  };
}

async function putLoad(
  callers: readonly Caller[],
  { rotation, perSecond, until, bodyBytes, onStart }: LoadOptions,
): Promise<LoadResult> {
  const { ms: longest = Number.POSITIVE_INFINITY, requests: most = Number.POSITIVE_INFINITY } = until;
  const latencies: number[] = [];
  let refused = 0;
  let sent = 0;
  /** At a steady rate, callers that wait for their next request, the one that has waited longest first. */
  const free: (() => void)[] = [];

  onStart?.();
  const startedAt = performance.now();
  const endsAt = startedAt + longest;

  function sendUntilEnd(caller: Caller): Promise<void> {
    let sentAt = 0;
    return new Promise((resolve, reject) => {
      const send = () => {
        sentAt = performance.now();
        if (sentAt >= endsAt || sent >= most) {
          resolve();
          return;
        }
        sent++;
        caller.ask(rotation.next(), bodyBytes, answered, reject);
      };
      const sendInTurn = () => {
        if (perSecond === undefined || performance.now() >= endsAt) send();
        else free.push(send);
      };
      const answered = (isGood: boolean) => {
        if (!isGood) refused++;
        latencies.push(performance.now() - sentAt);
        sendInTurn();
      };
      sendInTurn();
    });
  }

  function sendDue(rate: number): void {
    const now = performance.now();
    const due = now >= endsAt ? Number.POSITIVE_INFINITY : ((now - startedAt) / 1000) * rate;
    // Past the end each of them is done.
    while (free.length > 0 && sent < due) free.shift()?.();
  }

  const pace = perSecond === undefined ? undefined : setInterval(sendDue, 1, perSecond);
  try {
    await Promise.all(callers.map(sendUntilEnd));
  } finally {
    clearInterval(pace);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  return {
    requests: sorted.length,
    refused,
    seconds,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
  };
}

/** One connection, on which one request follows the other. */
interface Caller {
  isOpen(): boolean;
  /** Calls back with whether the answer is a 200 with a body of so many bytes, or with why there is none. */
  ask(request: Buffer, bodyBytes: number, answered: Answered, failed: (error: Error) => void): void;
  close(): void;
}

type Answered = (isGood: boolean) => void;

/** @param buffer Is filled with what comes, and read at once. */
async function openCaller(port: number, buffer: Buffer): Promise<Caller> {
  let asked: { bodyBytes: number; answered: Answered; failed: (error: Error) => void } | undefined;
  let isGood = true;
  let partial: Buffer | undefined;
  let awaited = 0;
  /** Of an answer in chunks: its last bytes so far, and how many there have been. */
  let chunks: { last: Buffer; bytes: number } | undefined;

  function receive(length: number): void {
    if (asked === undefined) socket.destroy(new Error("an answer that was not asked for"));
    else if (awaited > 0) awaited -= length;
    else if (chunks !== undefined) readChunks(buffer.subarray(0, length), asked.bodyBytes);
    else if (!readHead(buffer.subarray(0, length), asked.bodyBytes)) return;
    if (awaited > 0 || chunks !== undefined) return;
    const answered = asked?.answered;
    asked = undefined;
    answered?.(isGood);
  }

  /** Says whether the head has come to its end. */
  function readHead(chunk: Buffer, bodyBytes: number): boolean {
    const data = partial === undefined ? chunk : Buffer.concat([partial, chunk]);
    const head = data.indexOf(END_OF_HEAD);
    if (head === -1) {
      partial = Buffer.from(data);
      return false;
    }
    partial = undefined;
    const text = data.toString("latin1", 0, head);
    isGood = text.startsWith("HTTP/1.1 200");
    const stated = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1]);
    if (!Number.isNaN(stated)) {
      isGood &&= stated === bodyBytes;
      awaited = head + END_OF_HEAD.length + stated - data.length;
      return true;
    }
    if (!/\r\ntransfer-encoding: *chunked/i.test(text)) {
      socket.destroy(new Error(`an answer without a length: ${text.slice(0, 60)}`));
      return false;
    }
    chunks = { last: Buffer.alloc(0), bytes: 0 };
    readChunks(data.subarray(head + END_OF_HEAD.length), bodyBytes);
    return true;
  }

  function readChunks(chunk: Buffer, bodyBytes: number): void {
    if (chunks === undefined) return;
    chunks.bytes += chunk.length;
    chunks.last = Buffer.concat([chunks.last, chunk.subarray(-END_OF_CHUNKS.length)]).subarray(
      -END_OF_CHUNKS.length,
    );
    if (!chunks.last.equals(END_OF_CHUNKS)) return;
    isGood &&= chunks.bytes >= bodyBytes;
    chunks = undefined;
  }

  function fail(error: Error): void {
    const failed = asked?.failed;
    asked = undefined;
    failed?.(error);
  }

  const socket = connect({
    port,
    host: "127.0.0.1",
    noDelay: true,
    onread: {
      buffer,
      callback(length) {
        receive(length);
        return true;
      },
    },
  });
  await once(socket, "connect");
  socket.on("error", fail).on("close", () => fail(new Error("the server closed a connection")));
  socket.on("timeout", () => {
    if (asked !== undefined) socket.destroy(new Error("no answer in time"));
  });
  socket.setTimeout(ANSWER_LIMIT_MS);

  return {
    isOpen: () => !socket.destroyed && !socket.readableEnded,
    ask(request, bodyBytes, answered, failed) {
      if (!socket.writable) {
        failed(new Error("the server closed a connection"));
        return;
      }
      asked = { bodyBytes, answered, failed };
      socket.write(request);
    },
    close: () => void socket.destroy(),
  };
}
