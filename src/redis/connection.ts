/** The connection to Redis, asked within a small time budget and left alone while it fails: the only file that knows ioredis. */

import { Cluster, Redis } from "ioredis";
import { createBreaker } from "../foundation/breaker.ts";
import type { RedisAddress } from "./address.ts";
import type { RedisEvent, RedisStore, RedisToken, RedisTokenSource, Unavailable } from "./contract.ts";
import { MOST_SEALED_BYTES } from "./sealing.ts";
import { openSignIn, type SignIn, type SignInOptions } from "./sign-in.ts";

export interface RedisStoreOptions {
  readonly address: RedisAddress;
  /** Tokens of Entra to sign in with, in the place of a password; and the clocks that they end by, for tests. */
  readonly signIn?:
    | ({ readonly source: RedisTokenSource } & Pick<SignInOptions, "now" | "elapsed" | "pause">)
    | undefined;
  /** Milliseconds that one operation may take before the request goes on without. */
  readonly timeoutMs: number;
  readonly onEvent?: (event: RedisEvent) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** Silence with questions open, ms, after which the connection is taken for dead. */
const SILENCE_MS = 3_000;
const LONGEST_RECONNECT_MS = 2_000;
/**
 * Time for the server to end a connection that this side has ended, ms. ioredis waits so long for one that is lost already,
 * too, and keeps the process alive meanwhile, two seconds unless it is given less.
 */
const GOODBYE_MS = 100;
/** Replicas that lost Redis together must not return together. */
const BREAKER = { failures: 5, firstPauseMs: 500, longestPauseMs: 10_000, spread: 0.25 };
/** Label of a connection that ended without saying why. */
const DISCONNECTED = "disconnected";
/** First word of Redis' refusal of a write that its `maxmemory` has no room for. */
const FULL = "OOM";
/** First words of its refusals that concern who asks, or what this identity may do. */
const REFUSALS: ReadonlySet<string> = new Set(["WRONGPASS", "NOAUTH", "NOPERM"]);
/** Label of a connection that is not made, since there is no token to sign in with. */
const NO_TOKEN = "no_token";

const REMOVE_IF = `if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`;

/** Connects in the background, and again whenever the connection is lost, until closed. */
export function openRedisStore(options: RedisStoreOptions): RedisStore {
  const { timeoutMs, onEvent = () => {} } = options;
  const signIn = options.signIn && openTokens(options.signIn);
  const redis = connect(options.address, signIn?.current);
  const breaker = createBreaker({
    ...BREAKER,
    now: () => performance.now(),
    onOpened: (reason) => onEvent({ type: "shared_suspended", reason }),
    onClosed: () => onEvent({ type: "shared_resumed" }),
  });
  // The connection's own error says more than the operation that found the connection gone. An error of an earlier
  // connection says nothing about this one.
  let disconnection = DISCONNECTED;
  const onConnectionError = (error: unknown) => {
    disconnection = labelOf(error, DISCONNECTED);
    acceptance.refused(disconnection);
  };
  redis.on("error", onConnectionError);
  redis.on("node error", onConnectionError);
  redis.on("connect", () => {
    disconnection = DISCONNECTED;
  });
  let full = false;
  const acceptance = createAcceptance(signIn, onEvent);
  // With tokens, the first of them starts it. A failed first attempt becomes the event above, and the retry strategy
  // repeats it.
  if (signIn === undefined) redis.connect().catch(() => {});

  function openTokens(tokens: NonNullable<RedisStoreOptions["signIn"]>): SignIn {
    const opened = openSignIn({
      ...tokens,
      onToken: takeToken,
      onFailure: (problem) =>
        onEvent({ type: "shared_token_failed", problem, expiresAt: opened.current()?.expiresAt }),
    });
    return opened;
  }

  /** The token reaches connections to come by itself; those that are there sign in with it now. */
  function takeToken(): void {
    if (redis.status === "wait" || redis.status === "end") redis.connect().catch(() => {});
    for (const node of redis instanceof Cluster ? redis.nodes("all") : [redis]) {
      if (node.status === "ready") void signInAgain(node);
      // It is signing in at this moment, with the token before.
      else if (node.status === "connecting" || node.status === "connect")
        node.once("ready", () => void signInAgain(node));
    }
  }

  async function signInAgain(node: Redis): Promise<void> {
    const token = signIn?.current();
    if (token === undefined) return;
    try {
      await node.auth(token.objectId, token.token.reveal());
      if (acceptance.refusal() !== "NOPERM") acceptance.accepted();
    } catch (error) {
      // A connection that was lost meanwhile signs in when it is made again.
      acceptance.refused(labelOf(error, DISCONNECTED));
    }
  }

  async function ask<T>(operation: () => Promise<T>): Promise<T | Unavailable> {
    if (!breaker.allows()) return undefined;
    try {
      if (redis.status !== "ready") throw new Error("not connected");
      const answer = await within(timeoutMs, operation());
      breaker.succeeded();
      acceptance.accepted();
      return answer;
    } catch (error) {
      const reason = redis.status === "ready" ? labelOf(error, "failed") : absence();
      acceptance.refused(reason);
      // A full Redis answers, and what it holds serves on; it only takes nothing more.
      if (reason === FULL) {
        breaker.succeeded();
        if (!full) onEvent({ type: "shared_full" });
        full = true;
      } else breaker.failed(reason);
      onEvent({ type: "shared_failed", reason });
      return undefined;
    }
  }

  /** Why there is no connection that could be asked. */
  function absence(): string {
    if (signIn !== undefined && signIn.current() === undefined) return NO_TOKEN;
    // While it signs in once more, what it was refused for is still the reason.
    return disconnection === DISCONNECTED ? (acceptance.refusal() ?? DISCONNECTED) : disconnection;
  }

  async function store(operation: () => Promise<unknown>): Promise<boolean | Unavailable> {
    const stored = await ask(async () => (await operation()) === "OK");
    if (stored === true) full = false;
    return stored;
  }

  return {
    read: (name) =>
      ask(async () => {
        const value = await redis.getrangeBuffer(name, 0, MOST_SEALED_BYTES);
        return value.length === 0 ? null : value;
      }),
    write: (name, value, lifeMs) =>
      store(() => redis.set(name, value, "PX", Math.max(1, Math.floor(lifeMs)))),
    take: (name, owner, lifeMs) => store(() => redis.set(name, owner, "PX", lifeMs, "NX")),
    isTaken: (name) => ask(async () => (await redis.exists(name)) === 1),
    removeIf: (name, value) => ask(async () => (await redis.eval(REMOVE_IF, 1, name, value)) === 1),
    run: (script, name, args) => ask(() => redis.eval(script, 1, name, ...args)),
    available: () => redis.status === "ready" && !breaker.isOpen(),
    close() {
      signIn?.close();
      redis.disconnect();
    },
  };
}

/** Whether Redis lets this gateway in: events tell when that changes, and a refused token is asked for anew. */
function createAcceptance(signIn: SignIn | undefined, onEvent: (event: RedisEvent) => void) {
  let refusedFor: string | undefined;
  return {
    refused(label: string) {
      if (!REFUSALS.has(label)) return;
      if (label !== "NOPERM") signIn?.refused();
      if (refusedFor === label) return;
      refusedFor = label;
      onEvent({ type: "shared_refused", reason: label, objectId: signIn?.current()?.objectId });
    },
    accepted() {
      if (refusedFor === undefined) return;
      refusedFor = undefined;
      onEvent({ type: "shared_accepted" });
    },
    /** The label of the refusal that stands. */
    refusal: () => refusedFor,
  };
}

/** The finding of one patient look at a Redis. */
export type RedisProbe =
  | {
      /** The value that was read back: the written one, unless something is wrong with the server. */
      readonly value: Buffer;
      /** Milliseconds for one operation, on a connection that is open already. */
      readonly roundTripMs: number;
      /** `maxmemory-policy`, where memory is bounded and the server says so: it need not let this user ask. */
      readonly evictionPolicy: string | undefined;
    }
  /** A stable label: an error code of the system, or the first word of Redis' own. */
  | { readonly failure: string };

/** Connects once, writes a value for a moment, reads it back and removes it, within `limitMs`. Never rejects. */
export async function probeRedis(
  address: RedisAddress,
  {
    name,
    value,
    limitMs,
    token,
  }: {
    readonly name: string;
    readonly value: Buffer;
    readonly limitMs: number;
    /** Signs in with it in the place of the address' password. */
    readonly token?: RedisToken | undefined;
  },
): Promise<RedisProbe> {
  const redis = connect(address, token && (() => token));
  let first: string | undefined;
  // This event has the reason; the promise of a connection says only that it is closed.
  redis.on("error", (error: unknown) => {
    first ??= labelOf(error, DISCONNECTED);
  });
  try {
    return await within(limitMs, probe());
  } catch (error) {
    return { failure: first ?? labelOf(error, DISCONNECTED) };
  } finally {
    redis.disconnect();
  }

  async function probe(): Promise<RedisProbe> {
    await redis.connect();
    await redis.set(name, value, "PX", limitMs);
    const before = performance.now();
    const found = await redis.getrangeBuffer(name, 0, MOST_SEALED_BYTES);
    const roundTripMs = performance.now() - before;
    await redis.eval(REMOVE_IF, 1, name, value);
    const memory = await redis.info("memory").catch(() => "");
    const isBounded = /^maxmemory:[1-9]/m.test(memory);
    const evictionPolicy = isBounded ? /^maxmemory_policy:([a-z-]+)/m.exec(memory)?.[1] : undefined;
    return { value: found, roundTripMs, evictionPolicy };
  }
}

/** @param current The token to sign in with, in the place of the address' password; without one no connection is made. */
function connect(address: RedisAddress, current?: () => RedisToken | undefined): Redis | Cluster {
  const { topology, nodes, master, tls, username, password, database } = address;
  const reconnectMs = (times: number) =>
    current !== undefined && current() === undefined
      ? null
      : Math.min(50 * 2 ** Math.min(times, 10), LONGEST_RECONNECT_MS);
  const all = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password: password.reveal() }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENCE_MS,
    disconnectTimeout: GOODBYE_MS,
    keepAlive: 30_000,
    // A question that waited out an outage has no asker any more, so nothing is queued or sent a second time.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // Nothing here needs RESP3, and older servers do not speak it.
    protocol: 2 as const,
    // After a failover this connection may still lead to the former master: look the name up again.
    reconnectOnError: (error: Error) => error.message.startsWith("READONLY"),
  };
  const [first = { host: "localhost", port: 6_379 }] = nodes;
  if (topology === "cluster") {
    const cluster = new Cluster([...nodes], {
      redisOptions: { ...all, ...(tls && { tls: {} }) },
      // The names of certificates are looked for, so addresses that the cluster announces are kept as they are.
      ...(tls && { dnsLookup: (name, found) => found(null, name) }),
      enableOfflineQueue: false,
      lazyConnect: true,
      clusterRetryStrategy: reconnectMs,
    });
    // Each node is named before it is connected to.
    if (current !== undefined) cluster.on("+node", (node: Redis) => readToken(node, current));
    return cluster;
  }
  const one = {
    ...all,
    db: database,
    retryStrategy: reconnectMs,
    enableOfflineQueue: false,
    lazyConnect: true,
  };
  const redis =
    topology === "single"
      ? new Redis({ ...one, ...first, ...(tls && { tls: {} }) })
      : new Redis({
          ...one,
          sentinels: [...nodes],
          name: master ?? "",
          sentinelRetryStrategy: reconnectMs,
          ...(tls && { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }),
        });
  if (current !== undefined) readToken(redis, current);
  return redis;
}

/** ioredis reads user and password from its options whenever it connects, so these lead to the token of that moment. */
function readToken(redis: Redis, current: () => RedisToken | undefined): void {
  Object.defineProperties(redis.options, {
    username: { enumerable: true, get: () => current()?.objectId },
    password: { enumerable: true, get: () => current()?.token.reveal() },
  });
}

/** A stable word for an error: an error code of the system, or the first word of Redis' own (`OOM`, `READONLY`). */
function labelOf(error: unknown, otherwise: string): string {
  if (typeof error !== "object" || error === null) return otherwise;
  const {
    code,
    message = "",
    lastNodeError,
  } = error as Partial<NodeJS.ErrnoException & { lastNodeError: unknown }>;
  // A cluster says only that none of its nodes would do.
  if (lastNodeError !== undefined) return labelOf(lastNodeError, otherwise);
  if (typeof code === "string" && /^[A-Z_]{2,40}$/.test(code)) return code;
  return /^[A-Z]{2,20}(?= )/.exec(message)?.[0] ?? (error === LATE ? "timeout" : otherwise);
}

const LATE = new Error("no answer in time");

function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    // When this process was busy, the answer may be waiting in the socket: it is read before time is declared over.
    const timer = setTimeout(() => setImmediate(reject, LATE), ms).unref();
    answer.finally(() => clearTimeout(timer)).then(resolve, reject);
  });
}
