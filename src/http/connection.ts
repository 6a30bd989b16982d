/** Connections of callers: how many requests of each run, which bytes are not parsed yet, which connections give way to new ones, and which are cut. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Budget, createBudget, type Owner } from "../foundation/budget.ts";
import { chunkPassed } from "../foundation/chunk-memory.ts";
import { createMembers } from "../foundation/members.ts";
import type { Turns } from "../foundation/turns.ts";
import type { ConnectionEvent, ConnectionLimits, ConnectionRoom } from "./contract.ts";
import { createDiscards, type Discards } from "./discards.ts";
import { createGivingWay, type Occupant } from "./giving-way.ts";
import { stopParsing, type TakenReads, takeReads, waitsForAnswersToBeTaken } from "./node-parser.ts";

export interface ConnectionOptions {
  /** Requests of one connection that run at the same time; a later one waits. */
  readonly maxPipelined: number;
  /** Begins a request that had to wait, for so many ms. */
  readonly run: (request: IncomingMessage, response: ServerResponse, waitedMs: number) => void;
  readonly turns: Turns;
  /** The user of a request, once its caller is known. */
  readonly userOf: (request: IncomingMessage) => string | undefined;
  /** The user of a request whose token was verified before; undefined where nothing is known of it yet. */
  readonly recognize: (request: IncomingMessage) => string | undefined;
  /** The user that the caller of a request claims to be of which nothing is known yet. */
  readonly claimedUser: (request: IncomingMessage) => string | undefined;
  /** What all connections of the listener hold together. */
  readonly held: PipelinesHeld;
  /** When bodies behind refusals are thrown away. */
  readonly discards: Discards;
  /** Takes note of work that Node's parser makes of what was read, in tiny chunks of bodies, on any connection of the listener. */
  readonly onParsed: (chunks: number) => void;
  /** Whether all connections of the listener are parsed in pieces. */
  readonly isWary: () => boolean;
}

/** What pipelines hold, over all connections. */
export interface PipelinesHeld {
  /** Requests that came while an earlier one of their connection was still open. */
  requests: number;
  /** Bytes that are not parsed yet. */
  bytes: number;
  /** See `FLOOD_REQUESTS`: how many of them are used up, and when that was last looked at. */
  unknown: number;
  lookedAt: number;
  /** Bytes of heads whose requests wait, by user; callers who are not known share the part of one. */
  readonly heads: Budget;
}

/** A request that waits for its turn, and what its head takes of `PipelinesHeld.heads`. */
interface WaitingRequest {
  readonly response: ServerResponse;
  readonly owner: Owner;
  readonly bytes: number;
}

export interface Connection {
  readonly socket: Socket;
  /**
   * Takes note of a request. One that `waits` is begun by `run` when its turn comes. One that is `refused` would have to wait
   * where those that do hold as many bytes as they may, so it is answered at once and not processed. One that is `ignored` must
   * not be processed: an answer before it has ended the connection, or the connection is closed.
   */
  arrived(response: ServerResponse): "runs" | "waits" | "refused" | "ignored";
  /** Parses up to the end of one head in a turn, before it is known whether it pipelines, and until it has shown that it does not. */
  parseHeadByHead(): void;
  /** Reads the body of this request in turns, whatever becomes of the request: for one that may be long. */
  readInTurns(request: IncomingMessage): void;
  /** Takes note of a tiny chunk of a body. */
  tinyChunk(): void;
  /** Takes note of the end of an answer, given or not. */
  left(response: ServerResponse): void;
  /** Answers that are not closed yet. */
  open(): number;
  /** The request whose head was parsed last, with its answer. Undefined once that is given and the request has come whole. */
  newest(): ServerResponse | undefined;
  /** The user of the request that began last, once its caller is known: one that waits has no caller yet. */
  user(): string | undefined;
  /** Requests whose heads were parsed. */
  requests(): number;
  /** Whether nothing more of what it sends is processed. */
  hasEnded(): boolean;
  /** Makes the request that is being looked at the last one: nothing behind it is processed, parsed or not. */
  endHere(): void;
  /** Makes the request that has just arrived the last one, which is answered like any other: nothing behind its head is processed. */
  endBehind(response: ServerResponse): void;
  /** Whether it has sent requests that are not parsed yet. */
  isAhead(): boolean;
  /** Gives the answers that are due, processes nothing behind them, and closes. */
  endAfterAnswers(): void;
  /**
   * Lets go of its last request and of what was not parsed, once it is closed. V8 collects an object that has grown old only with
   * all others, and the young ones that it refers to stay until then: a request and its answer, of each connection that has gone.
   */
  forget(): void;
}

/**
 * Requests of one connection that are held at most, running and waiting together. Node parses one read of 64 KiB to its
 * end before anything can stop it: requests of 34 bytes would be 1900. A request with a genuine token takes more than
 * 1 KiB, so a read holds less than 64 of them: a connection that is closed for this has sent requests without a token.
 */
const MOST_PARSED = 128;

/**
 * Of these, a connection may hold so many in any case. Of requests beyond, whose callers are not known yet, all connections
 * together may send `FLOOD_REQUESTS` at once, and some more in each ms; then one more closes its connection. Requests are made
 * objects of before they can be refused: a read full of them takes 5 ms, and of some dozens of connections a third of a second.
 */
const ALWAYS_PARSED = 16;
const FLOOD_REQUESTS = 128;
const FLOOD_REQUESTS_PER_MS = 0.1;

/** Bytes that are kept of a caller who sends further requests while it has as many under way as it may have. */
const READ_AHEAD_BYTES = 64 * 1024;

/** The same for all connections of a listener together: past these, a pipeline is closed, and one request after the other still passes. */
const MOST_PIPELINED = 4_096;
const MOST_READ_AHEAD_BYTES = 16 * 1024 * 1024;

/**
 * Bytes of heads that wait for their turn, over all connections, and the part of them that one user may hold, or all callers
 * together who are not known: a flood of connections is parsed faster than its requests begin, and a head may have 32 KiB.
 */
const WAITING_HEADS = { total: 64 * 1024 * 1024, userShare: 1 / 4, clientShare: 1 };

/** Bytes that are read and thrown away behind the last answer, so that the caller can finish sending and read it. */
const DISCARDED_BYTES = 16 * 1024 * 1024;

/** Least piece of a request's body that is parsed at once, so that a body of nothing but line breaks stays cheap. */
const LEAST_PIECE = 1024;

/**
 * Most of a body in chunks that is parsed at once: a chunk of one byte takes as long as one of thousands, 4 µs. Where the
 * piece before held more than `MANY_TINY` tiny ones, so that one of this size would take 3 ms, less is.
 */
const MOST_CHUNKED = 4096;
const MANY_TINY = 64;

/**
 * Node parses one read of 64 KiB to its end: 10 900 chunks of one byte take 40 ms, and the heads of a pipeline 5. Where so
 * many tiny chunks of all connections were parsed in one turn of the event loop, or so many heads of known users' pipelines, the
 * connections of the listener are parsed in pieces for the next `WARY_MS`, and longer until they are at rest.
 * That adds 15 µs to what a request costs, so it is not done at all times.
 */
const MOST_CHUNKS_IN_TURN = 1024;
const HEAD_IN_CHUNKS = 16;
const WARY_MS = 10_000;

const NOTHING: Buffer = Buffer.alloc(0);

/** RFC 9110 §9.2.1. */
const SAFE: readonly string[] = ["GET", "HEAD", "OPTIONS", "TRACE"];

const CONNECTION = Symbol("connection");
type Connected = Socket & { [CONNECTION]?: Connection };

/** The connection of a request, where the gateway's own server accepted it. */
export function connectionOf(socket: Socket): Connection | undefined {
  return (socket as Connected)[CONNECTION];
}

/**
 * Up to `maxPipelined` requests of a pipeline run at the same time. Nothing behind an unsafe request begins before that
 * is answered, so that unsafe ones run one after the other in the order in which they were sent (RFC 9112 §9.3.2).
 *
 * Node reads and parses by itself until a connection shows that it pipelines, which costs nothing. From then on its
 * bytes pass through here, and are parsed up to the end of one head in a turn of the event loop: a refusal is answered
 * before the next request is parsed, and no more is parsed while `maxPipelined` requests run. What comes meanwhile is
 * read nevertheless, for the end of a connection stands behind it: a caller who has left is noticed, and its requests
 * end. A caller who sends more than `READ_AHEAD_BYTES` ahead gets the answers that are due, and the last one says that
 * the connection ends, so that the rest can be sent again on another (RFC 9112 §9.6).
 *
 * The same holds for the bytes of a long body, be it wanted or thrown away behind a refusal: the system hands over up to
 * 2 MiB of a connection in one turn of the event loop, and where there is no time left in that, they wait for the turn of
 * their user.
 */
export function openConnection(
  socket: Socket,
  {
    maxPipelined,
    run,
    held,
    discards,
    turns,
    userOf,
    recognize,
    claimedUser,
    onParsed,
    isWary,
  }: ConnectionOptions,
): Connection {
  let running = 0;
  let unsafe: ServerResponse | undefined;
  let newest: ServerResponse | undefined;
  /** The request that began last, until it is answered. */
  let begun: ServerResponse | undefined;
  let userBefore: string | undefined;
  let requests = 0;
  const waiting: WaitingRequest[] = [];
  let isLast = false;
  let closesAfterAnswers = false;
  let reads: TakenReads | undefined;
  /** Whether it has pipelined, or sent many tiny chunks: it is parsed in pieces to its end. */
  let staysInPieces = false;
  let rest = NOTHING;
  let discarded = 0;
  let isScheduled = false;
  let isPausedForTurn = false;
  let dropped = false;
  /** Tiny chunks of the newest request's body in the piece that was parsed last. */
  let tiny = 0;
  /** Whether it is not known yet what the chunks of its body are like. */
  let isUntried = false;

  function keep(bytes: Buffer): void {
    held.bytes += bytes.length - rest.length;
    rest = bytes;
  }

  function mayRun(): boolean {
    return running === 0 || (unsafe === undefined && running < maxPipelined);
  }

  function begin(response: ServerResponse): void {
    running += 1;
    begun = response;
    if (!SAFE.includes(response.req.method ?? "")) unsafe = response;
  }

  function parseInPieces(): void {
    if (reads !== undefined) return;
    reads = takeReads(socket, onData);
    if (reads !== undefined) socket.on("resume", goOn);
  }

  /** A connection that sends one request after the other is read by Node alone, which takes 15 µs of each less. */
  function readByNode(): void {
    const isAtRest = running + waiting.length === 0 && rest.length === 0 && newest?.req.complete === true;
    if (
      staysInPieces ||
      !isAtRest ||
      isLast ||
      isScheduled ||
      socket.isPaused() ||
      waitsForAnswersToBeTaken(socket)
    )
      return;
    if (isWary() || reads?.giveBack() !== true) return;
    reads = undefined;
    socket.removeListener("resume", goOn);
  }

  function goOn(): void {
    proceed(false);
  }

  function onData(chunk: Buffer): void {
    chunkPassed(chunk);
    if (isLast) {
      discarded += chunk.length;
      if (discarded > DISCARDED_BYTES) socket.destroy();
      else discardInTurn();
      return;
    }
    if (isFull() && rest.length + chunk.length > READ_AHEAD_BYTES) {
      connection.endAfterAnswers();
      return;
    }
    keep(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]));
    proceed(false);
    if (isScheduled && isInBody() && !socket.isPaused()) {
      isPausedForTurn = true;
      socket.pause();
    }
    if (!isFull()) return;
    if (rest.length > READ_AHEAD_BYTES || held.bytes > MOST_READ_AHEAD_BYTES) connection.endAfterAnswers();
  }

  /** What comes behind the last request is of no use, and its sender may have megabytes of it on the way. */
  function discardInTurn(): void {
    if (socket.isPaused()) return;
    socket.pause();
    discards.wait(() => {
      if (!socket.destroyed) socket.resume();
    });
  }

  /** One request of a connection begins, or is parsed, each time that it is the turn of its user. */
  function schedule(): void {
    if (isScheduled || socket.destroyed) return;
    isScheduled = true;
    if (isDiscarding()) {
      discards.wait(() => turn(0));
      return;
    }
    const next = waiting[0]?.response ?? newest;
    const user = next && recognize(next.req);
    turns.wait(user, turn, user === undefined ? next && claimedUser(next.req) : undefined);
  }

  function turn(waitedMs: number): void {
    isScheduled = false;
    const next = waiting[0]?.response;
    if (next !== undefined && !dropped && !socket.destroyed && mayRun()) {
      leaveLine(0);
      begin(next);
      run(next.req, next, waitedMs);
    }
    if (waiting.length > 0 && mayRun()) schedule();
    else proceed(true);
    if (!isPausedForTurn || (isInBody() && rest.length >= LEAST_PIECE)) return;
    isPausedForTurn = false;
    socket.resume();
  }

  /** `isTurn`: this is the turn that the connection has waited for. */
  function proceed(isTurn: boolean): void {
    let isDue = isTurn;
    while (rest.length > 0 && reads !== undefined && !isLast && !socket.destroyed && !isScheduled) {
      // Node has paused it: the caller does not read, or a body waits to be read. It goes on with `resume`.
      if (waitsForAnswersToBeTaken(socket) || (socket.isPaused() && !isPausedForTurn)) return;
      if (isFull()) return;
      if (!isDue && isInBody() && mustWait()) {
        schedule();
        return;
      }
      isDue = false;
      const piece = nextPiece();
      keep(rest.subarray(piece.length));
      const before = newest;
      tiny = 0;
      isUntried = false;
      reads.parse(piece);
      if (newest !== before && rest.length > 0) schedule();
    }
  }

  /** Where all connections together hold much already, bytes of a body are parsed as they come. */
  function mustWait(): boolean {
    if (rest.length < LEAST_PIECE || held.bytes >= MOST_READ_AHEAD_BYTES / 2) return false;
    return isDiscarding() || !turns.isFree();
  }

  /** Whether the answer has been given before the body was here. */
  function isDiscarding(): boolean {
    return newest?.writableFinished === true && !newest.req.complete;
  }

  function nextPiece(): Buffer {
    if (!isInBody()) return rest.subarray(0, endOfHead(rest, 0));
    const isChunked = newest?.req.headers["transfer-encoding"] !== undefined;
    const most = isChunked
      ? rest.subarray(0, isUntried || tiny > MANY_TINY ? LEAST_PIECE : MOST_CHUNKED)
      : rest;
    return most.subarray(0, endOfHead(most, LEAST_PIECE));
  }

  /** Has a request wait, unless it would hold more than it may. */
  function joinLine(response: ServerResponse): boolean {
    const owner = { user: recognize(response.req) ?? NOT_KNOWN, client: NOT_KNOWN };
    const bytes = headBytes(response.req);
    if (held.heads.take(owner, bytes) !== undefined) return false;
    waiting.push({ response, owner, bytes });
    return true;
  }

  function leaveLine(place: number): void {
    for (const { owner, bytes } of waiting.splice(place, 1)) held.heads.give(owner, bytes);
  }

  /** Takes note of one more request than `ALWAYS_PARSED`, and says whether that is one too many. */
  function isFlood(request: IncomingMessage): boolean {
    if (recognize(request) !== undefined) return false;
    const now = performance.now();
    held.unknown = Math.max(0, held.unknown - (now - held.lookedAt) * FLOOD_REQUESTS_PER_MS) + 1;
    held.lookedAt = now;
    return held.unknown > FLOOD_REQUESTS;
  }

  /** A connection at rest keeps its user and no request: one of 30 KB on each of thousands would be held as long as they are. */
  function forgetAnswered(response: ServerResponse): void {
    if (response === begun) {
      userBefore = userOf(response.req);
      begun = undefined;
    }
    if (response.req.complete) forgetNewest(response);
    // Refused before its body was here, which is read and thrown away.
    else response.req.once("close", () => forgetNewest(response));
  }

  function forgetNewest(response: ServerResponse): void {
    if (response === newest && rest.length === 0) newest = undefined;
  }

  function isInBody(): boolean {
    return newest?.req.complete === false;
  }

  /** Whether the next request would have to wait. A body goes on nevertheless: Node pauses it where it is not read. */
  function isFull(): boolean {
    return !isInBody() && (waiting.length > 0 || running >= maxPipelined);
  }

  function closeWhenAnswered(): void {
    // The answer to a request that came broken is never due.
    const broken = newest?.req.complete === false && !newest.closed ? 1 : 0;
    if (running + waiting.length <= broken) socket.destroySoon();
  }

  const connection: Connection = {
    socket,
    arrived(response) {
      if (isLast || socket.destroyed) return "ignored";
      const open = running + waiting.length;
      const isTooMany =
        open >= MOST_PARSED ||
        (open > 0 && held.requests >= MOST_PIPELINED) ||
        (open >= ALWAYS_PARSED && isFlood(response.req));
      // Behind another request no answer can be given at once.
      if (isTooMany || (open > 0 && !joinLine(response))) {
        isLast = true;
        stopParsing(socket);
        socket.destroy();
        return "ignored";
      }
      if (open > 0) {
        held.requests += 1;
        // Of callers who are not known, `FLOOD_REQUESTS` is the bound.
        if (recognize(response.req) !== undefined) onParsed(HEAD_IN_CHUNKS);
        staysInPieces = true;
        parseInPieces();
      }
      newest = response;
      requests += 1;
      if (open === 0 && turns.isFree()) {
        begin(response);
        return "runs";
      }
      if (open === 0 && !joinLine(response)) {
        begin(response);
        return "refused";
      }
      schedule();
      return "waits";
    },
    parseHeadByHead: parseInPieces,
    readInTurns(request) {
      parseInPieces();
      tiny = 0;
      isUntried = true;
      // A reader that wants more would have the connection go on ahead of its turn.
      const read = request._read.bind(request);
      request._read = (size) => {
        if (!isPausedForTurn) read(size);
      };
    },
    tinyChunk() {
      tiny += 1;
      if (tiny > MANY_TINY) staysInPieces = true;
      onParsed(1);
    },
    left(response) {
      const place = waiting.findIndex((one) => one.response === response);
      if (place >= 0) leaveLine(place);
      else running -= 1;
      if (running + waiting.length > 0) held.requests -= 1;
      if (unsafe === response) unsafe = undefined;
      if (socket.destroyed) return;
      if (closesAfterAnswers) closeWhenAnswered();
      if (waiting.length > 0 || rest.length > 0) schedule();
      else if (reads !== undefined) readByNode();
      forgetAnswered(response);
    },
    open: () => running + waiting.length,
    newest: () => newest,
    user: () => (begun === undefined ? userBefore : userOf(begun.req)),
    requests: () => requests,
    hasEnded: () => isLast,
    isAhead: () => rest.length > 0 && !isInBody(),
    endHere() {
      isLast = true;
      keep(NOTHING);
      // They get no answer: their responses are closed with the connection.
      dropped = true;
    },
    endBehind(response) {
      isLast = true;
      keep(NOTHING);
      response.shouldKeepAlive = false;
      stopParsing(socket);
    },
    endAfterAnswers() {
      isLast = true;
      closesAfterAnswers = true;
      keep(NOTHING);
      if (newest !== undefined && !newest.headersSent) newest.shouldKeepAlive = false;
      closeWhenAnswered();
    },
    forget() {
      keep(NOTHING);
      newest = undefined;
      begun = undefined;
    },
  };
  (socket as Connected)[CONNECTION] = connection;
  return connection;
}

/** Of callers who are not known. */
const NOT_KNOWN = "";

function headBytes({ rawHeaders, url = "" }: IncomingMessage): number {
  let bytes = url.length;
  for (const text of rawHeaders) bytes += text.length;
  return bytes;
}

/** Where the first head that ends at or behind `least` ends, or all of it where none does. */
function endOfHead(bytes: Buffer, least: number): number {
  const end = bytes.indexOf("\r\n\r\n", least, "latin1");
  return end < 0 ? bytes.length : end + 4;
}

export interface ConnectionsOptions
  extends Pick<ConnectionOptions, "run" | "turns" | "userOf" | "recognize" | "claimedUser"> {
  readonly limits: ConnectionLimits;
  /** Asked for each connection. Default: as the limits say. */
  readonly room?: (() => ConnectionRoom) | undefined;
  readonly onEvent: (event: ConnectionEvent) => void;
}

export interface Connections {
  /** Takes a connection in, or closes it where the most are open and none gives way. */
  opened(socket: Socket): void;
  /**
   * From now on unread answers go first: a caller who does not take its answer does not hold up the end. Nor does one
   * that keeps sending ahead: what of it is not parsed yet is not processed, so that it can be sent to another instance.
   */
  drain(): void;
  /** Whether an answer, or a part of one, has been handed over and is not sent yet. */
  hasUnread(): boolean;
  close(): void;
}

interface Watched extends Occupant {
  readonly connection: Connection;
  readonly progress: Progress;
  idleMs: number;
  seen: number;
  /** While the process ends: bytes that the caller had sent at the last look, and for how long it has sent no more, ms. */
  read: number;
  silentMs: number;
}

/** How often progress is looked at, ms. A busy event loop looks less often, and that is to the caller's advantage. */
const LOOK_MS = 1_000;

/** While the process ends: what an honest caller on a slow line still keeps, and one who does not read does not. */
const DRAINING: UnreadLimits = { stallSeconds: 2, minBytesPerSecond: 16_384, totalSeconds: 20 };

/** While the process ends: longest pause in a request's body, ms. */
const BODY_PAUSE_MS = 2_000;

/**
 * A user who still has more requests than this under way when the process has been ending for so long, ms, loses them:
 * browsers have six connections for a host, and one caller must not hold up the end for the others.
 */
const MOST_AWAITED = 8;
const CROWD_WAIT_MS = 3_000;

export function watchConnections(options: ConnectionsOptions): Connections {
  const { limits, turns, onEvent } = options;
  const { room = () => ({ max: limits.max, idleGivesWay: "after seconds" }) } = options;
  const watched = createMembers<Watched>();
  const givingWay = createGivingWay({ all: watched });
  let opened = 0;
  const held: PipelinesHeld = {
    requests: 0,
    bytes: 0,
    unknown: 0,
    lookedAt: 0,
    heads: createBudget(WAITING_HEADS),
  };
  const ofEach: ConnectionOptions = {
    ...options,
    maxPipelined: limits.maxPipelined,
    held,
    discards: createDiscards(),
    onParsed,
    isWary,
  };
  /** What was parsed in this turn of the event loop, in tiny chunks. */
  let parsedChunks = 0;
  let waryUntil = 0;
  let unreadLimits: UnreadLimits = {
    stallSeconds: limits.writeStallSeconds,
    minBytesPerSecond: limits.minWriteBytesPerSecond,
    totalSeconds: limits.writeTimeoutSeconds,
  };
  let drainingMs = 0;
  const lookMs = Math.min(LOOK_MS, limits.writeStallSeconds * 250);
  const timer = setInterval(look, lookMs).unref();

  function look(): void {
    // One that is cut leaves the collection a turn later.
    for (const one of watched) {
      const requests = one.connection.requests();
      one.idleMs = one.connection.open() === 0 && requests === one.seen ? one.idleMs + lookMs : 0;
      one.seen = requests;
      if (unreadLimits === DRAINING && one.connection.isAhead()) one.connection.endAfterAnswers();
      if (!one.progress.passed(lookMs, unreadLimits)) continue;
      cut(one, "unread");
    }
    if (unreadLimits === DRAINING) lookAtTheEnd();
  }

  function endTurn(): void {
    parsedChunks = 0;
  }

  function isWary(): boolean {
    return waryUntil > 0 && performance.now() < waryUntil;
  }

  function onParsed(chunks: number): void {
    if (parsedChunks === 0) setImmediate(endTurn);
    const before = parsedChunks;
    parsedChunks += chunks;
    if (before >= MOST_CHUNKS_IN_TURN || parsedChunks < MOST_CHUNKS_IN_TURN) return;
    const now = performance.now();
    // At once: further reads may be handed to Node in this turn.
    if (now >= waryUntil) for (const { connection } of watched) connection.parseHeadByHead();
    waryUntil = now + WARY_MS;
  }

  function cut({ connection }: Watched, reason: "unread" | "held_up"): void {
    onEvent(reason);
    connection.socket.destroy();
  }

  /** Lets go of what would hold up the end: bodies that do not come, and users with many requests under way. */
  function lookAtTheEnd(): void {
    drainingMs += lookMs;
    for (const one of watched) {
      const { socket } = one.connection;
      const isAwaited = isBodyAwaited(one.connection) && socket.bytesRead === one.read;
      one.silentMs = isAwaited ? one.silentMs + lookMs : 0;
      one.read = socket.bytesRead;
      if (one.silentMs >= BODY_PAUSE_MS) cut(one, "held_up");
    }
    if (drainingMs < CROWD_WAIT_MS) return;
    const requests = new Map<string, number>();
    for (const one of watched) {
      const user = userOfConnection(one);
      if (user !== undefined) requests.set(user, (requests.get(user) ?? 0) + one.connection.open());
    }
    for (const one of watched) {
      const user = userOfConnection(one);
      if (user !== undefined && (requests.get(user) ?? 0) > MOST_AWAITED) cut(one, "held_up");
    }
  }

  function userOfConnection({ connection }: Watched): string | undefined {
    return connection.open() === 0 || connection.socket.destroyed ? undefined : connection.user();
  }

  return {
    opened(socket) {
      const taken = room();
      if (watched.size >= taken.max) {
        if (!givingWay.makeRoom(taken)) {
          onEvent("dropped");
          socket.destroy();
          return;
        }
        onEvent("gave_way");
      }
      const connection = openConnection(socket, ofEach);
      const one: Watched = {
        order: opened++,
        openedAt: performance.now(),
        connection,
        progress: watchProgress(socket),
        idleMs: 0,
        seen: 0,
        read: 0,
        silentMs: 0,
      };
      watched.add(one);
      givingWay.opened(one);
      // Of a read that Node parses at once, 128 requests would be made objects of: what those in line would wait for.
      if (turns.accepted() || one.openedAt < waryUntil) connection.parseHeadByHead();
      onEvent("opened");
      socket.once("close", () => {
        connection.forget();
        watched.delete(one);
        givingWay.closed(one);
        onEvent("closed");
      });
    },
    drain() {
      unreadLimits = DRAINING;
    },
    hasUnread() {
      for (const { connection } of watched) if (connection.socket.writableLength > 0) return true;
      return false;
    },
    close() {
      clearInterval(timer);
    },
  };
}

export interface UnreadLimits {
  /** Longest pause in which a caller takes nothing of what is there for it, s. */
  readonly stallSeconds: number;
  /** Least rate at which a caller takes what is there, bytes a second, once it has taken longer than a pause may be. */
  readonly minBytesPerSecond: number;
  /** Longest time until the caller has taken what was handed over last, s; the time to make an answer is not counted. */
  readonly totalSeconds: number;
}

/** How a caller has been taking its answers. */
export interface Progress {
  /** Takes note that `ms` have passed, and says whether a limit is broken. */
  passed(ms: number, limits: UnreadLimits): boolean;
  /** For how long nothing has been taken of what is there, ms. */
  stalledMs(): number;
}

/** Held by libuv, and so part of `writableLength` to its last byte; without it a large write would look like a pause. */
type Written = Socket & { readonly _handle?: { readonly writeQueueSize?: number } | null };

/** An idle producer leaves nothing unread, so a stream of events may pause for as long as it likes. */
export function watchProgress(socket: Socket): Progress {
  let isUnread = false;
  let taken = 0;
  let takenSince = 0;
  let unreadMs = 0;
  let stalledMs = 0;
  let handedOver = 0;
  let unchangedMs = 0;

  return {
    passed(ms, { stallSeconds, minBytesPerSecond, totalSeconds }) {
      const unread = socket.writableLength;
      if (unread === 0) {
        isUnread = false;
        stalledMs = 0;
        return false;
      }
      const written = socket.bytesWritten;
      const now = written - unread - ((socket as Written)._handle?.writeQueueSize ?? 0);
      if (!isUnread) {
        isUnread = true;
        taken = now;
        takenSince = 0;
        unreadMs = 0;
        handedOver = written;
        unchangedMs = 0;
        return false;
      }
      const moved = Math.max(0, now - taken);
      taken = now;
      takenSince += moved;
      unreadMs += ms;
      stalledMs = moved > 0 ? 0 : stalledMs + ms;
      unchangedMs = written === handedOver ? unchangedMs + ms : 0;
      handedOver = written;
      return (
        stalledMs >= stallSeconds * 1000 ||
        unchangedMs >= totalSeconds * 1000 ||
        (unreadMs > stallSeconds * 1000 && takenSince < (minBytesPerSecond * unreadMs) / 1000)
      );
    },
    stalledMs: () => stalledMs,
  };
}

/** Whether the rest of a body is wanted and not here. One that the gateway has not asked for yet may take its time. */
function isBodyAwaited(connection: Connection): boolean {
  const request = connection.newest()?.req;
  return request?.complete === false && request.readableFlowing === true && !connection.socket.isPaused();
}
