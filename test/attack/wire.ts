/** The attacker's end of the wire: raw connections that send what they like and read as little as they like. */

import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Reading = "all" | "nothing" | { readonly bytes: number; readonly everyMs: number };

export interface Attacker {
  /** Resolves once connected; `undefined` when the connection was refused. Ends and answers are counted. */
  open(reading: Reading, options?: OpenOptions): Promise<Socket | undefined>;
  /** Opens so many, each of which sends the same bytes. In batches that fit into the backlog of any listener. */
  hold(
    connections: number,
    reading: Reading,
    bytes: (index: number) => Buffer | string,
  ): Promise<readonly Socket[]>;
  /** Keeps `depth` requests under way on each connection, and opens another one for each that was closed. */
  pump(options: PumpOptions): void;
  /** Counts what the attacker got: a status, or how a connection ended. */
  count(outcome: string): void;
  /** Outcomes so far. Connections that the gateway has closed unseen, for nothing is read from them, included. */
  outcomes(): Readonly<Record<string, number>>;
  /** Connections that were opened, and those which the gateway still holds. */
  connections(): { readonly opened: number; readonly held: number };
  /** Gives all connections up, and has `pump` open none any more. */
  leave(): void;
}

export interface OpenOptions {
  readonly port?: number;
  readonly onStatus?: (status: string) => void;
  readonly onClose?: () => void;
}

export interface PumpOptions {
  readonly connections: number;
  readonly depth: number;
  readonly request: () => Buffer | string;
  readonly port?: number;
}

/** Connections that were closed from this side. */
const leavers = new WeakSet<Socket>();

const READ_BYTES = 64 * 1024;
const BATCH = 64;
const CONNECT_LIMIT_MS = 5_000;
const REOPEN_AFTER_MS = 50;
const STATUS = Buffer.from("HTTP/1.1 ");
const STATUS_BYTES = STATUS.length + 3;

/** Calls back with each status in a stream of answers, wherever it is cut. Bodies must not hold a status line. */
export function createStatusScanner(onStatus: (status: string) => void): (chunk: Buffer) => void {
  let tail = Buffer.alloc(0);
  return (chunk) => {
    const bytes = tail.length === 0 ? chunk : Buffer.concat([tail, chunk]);
    let at = bytes.indexOf(STATUS);
    while (at !== -1 && at + STATUS_BYTES <= bytes.length) {
      onStatus(bytes.toString("latin1", at + STATUS.length, at + STATUS_BYTES));
      at = bytes.indexOf(STATUS, at + STATUS_BYTES);
    }
    // Too short for a whole one, so none is counted twice.
    tail = Buffer.from(bytes.subarray(at === -1 ? Math.max(0, bytes.length - STATUS_BYTES + 1) : at));
  };
}

export function createAttacker(gatewayPort: number): Attacker {
  const counts = new Map<string, number>();
  const count = (outcome: string) => void counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const open = new Map<number, Socket>();
  const sockets = new Set<Socket>();
  let hasLeft = false;
  let opened = 0;
  /** Local ports of the connections that this side has not given up. */
  const kept = () => [...open].filter(([, socket]) => !leavers.has(socket)).map(([port]) => port);

  const attacker: Attacker = {
    count,
    open(reading, { port = gatewayPort, onStatus, onClose } = {}) {
      return new Promise((resolve) => {
        const scan = createStatusScanner((status) => {
          count(status);
          onStatus?.(status);
        });
        const bytes = typeof reading === "object" ? reading.bytes : READ_BYTES;
        const socket = connect({
          port,
          host: "127.0.0.1",
          noDelay: true,
          onread: {
            buffer: Buffer.allocUnsafe(bytes),
            callback(length, buffer) {
              scan(Buffer.from(buffer.subarray(0, length)));
              return typeof reading !== "object";
            },
          },
        });
        sockets.add(socket);
        if (reading === "nothing") socket.pause();
        let localPort = 0;
        const limit = setTimeout(() => socket.destroy(), CONNECT_LIMIT_MS);
        socket.once("connect", () => {
          clearTimeout(limit);
          opened++;
          localPort = socket.localPort ?? 0;
          open.set(localPort, socket);
          if (typeof reading === "object") readSlowly(socket, reading.everyMs);
          resolve(socket);
        });
        socket.on("error", () => {});
        socket.once("close", () => {
          clearTimeout(limit);
          sockets.delete(socket);
          // One that this side gave up is not an outcome.
          if (localPort === 0) count("refused");
          else if (open.get(localPort) === socket) {
            open.delete(localPort);
            if (!leavers.has(socket)) count("closed");
          }
          resolve(undefined);
          onClose?.();
        });
      });
    },
    async hold(connections, reading, bytes) {
      const held: Socket[] = [];
      for (let first = 0; first < connections; first += BATCH) {
        const batch = await Promise.all(
          Array.from({ length: Math.min(BATCH, connections - first) }, () => attacker.open(reading)),
        );
        for (const socket of batch) {
          if (socket === undefined) continue;
          socket.write(bytes(held.length));
          held.push(socket);
        }
      }
      return held;
    },
    pump({ connections, depth, request, port = gatewayPort }) {
      const one = async (): Promise<void> => {
        if (hasLeft) return;
        let socket: Socket | undefined;
        const send = () => void socket?.write(request());
        socket = await attacker.open("all", {
          port,
          onStatus: (status) => {
            // An interim answer is none yet.
            if (!status.startsWith("1")) send();
          },
          onClose: () => void sleep(REOPEN_AFTER_MS).then(one),
        });
        for (let sent = 0; sent < depth; sent++) send();
      };
      for (let index = 0; index < connections; index++) void one();
    },
    outcomes() {
      const unseen = unseenEnds(kept());
      const seen = Object.fromEntries([...counts].sort());
      return unseen === 0 ? seen : { ...seen, closed: (seen.closed ?? 0) + unseen };
    },
    connections() {
      const ports = kept();
      return { opened, held: ports.length - unseenEnds(ports) };
    },
    leave() {
      hasLeft = true;
      for (const socket of sockets) leave(socket);
    },
  };
  return attacker;
}

/** Closes a connection from this side, at once and without a word. */
export function leave(socket: Socket): void {
  leavers.add(socket);
  socket.resetAndDestroy();
}

/** Closes a connection from this side in order, so that the gateway can read what came before. */
export function leavePolitely(socket: Socket): void {
  leavers.add(socket);
  socket.destroy();
}

function readSlowly(socket: Socket, everyMs: number): void {
  const timer = setInterval(() => socket.resume(), everyMs);
  socket.once("close", () => clearInterval(timer));
}

const ESTABLISHED = "01";

/** A paused socket does not see its peer's end; the kernel does, where it tells: how many of these are over. */
function unseenEnds(localPorts: Iterable<number>): number {
  let text: string;
  try {
    text = readFileSync("/proc/net/tcp", "utf8");
  } catch {
    return 0;
  }
  return countEnded(text, localPorts);
}

/** `text` is `/proc/net/tcp`: the second field is the local address in hex, the fourth one the state. */
export function countEnded(text: string, localPorts: Iterable<number>): number {
  const established = new Set<number>();
  for (const line of text.split("\n").slice(1)) {
    const [, local = "", , state] = line.trim().split(/\s+/);
    if (state === ESTABLISHED) established.add(Number.parseInt(local.split(":")[1] ?? "", 16));
  }
  let ended = 0;
  for (const port of localPorts) if (!established.has(port)) ended++;
  return ended;
}

/** A request as bytes. */
export function requestOf(
  path: string,
  fields: Readonly<Record<string, string>> = {},
  { method = "GET", body }: { readonly method?: string; readonly body?: string | Buffer } = {},
): Buffer {
  const all: Readonly<Record<string, string>> = {
    host: "gateway.test",
    ...fields,
    ...(body !== undefined && { "content-length": String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1");
  return body === undefined ? head : Buffer.concat([head, Buffer.from(body)]);
}

/** The same bytes so many times. */
export function repeated(bytes: Buffer, times: number): Buffer {
  return Buffer.alloc(bytes.length * times, bytes);
}

export function bearer(token: string): { readonly authorization: string } {
  return { authorization: `Bearer ${token}` };
}
