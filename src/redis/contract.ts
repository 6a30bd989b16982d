/** Types of the Redis room: its port, which the exchange and the rate limits share, and the events of its connection. */

import type { Secret } from "../foundation/secret.ts";

/** Where an operation came to nothing, for whatever reason: never an error, for no request depends on Redis. */
export type Unavailable = undefined;

/** Every operation ends within the time budget; none ever rejects. */
export interface RedisStore {
  /** Null when no value is there. Longer values come cut off, and will not open. */
  read(name: string): Promise<Buffer | null | Unavailable>;
  write(name: string, value: Buffer | string, lifeMs: number): Promise<boolean | Unavailable>;
  /** Whether the name was free, and is now taken for so many ms. */
  take(name: string, owner: string, lifeMs: number): Promise<boolean | Unavailable>;
  isTaken(name: string): Promise<boolean | Unavailable>;
  /** Removes the value only while it is still this one. */
  removeIf(name: string, value: Buffer | string): Promise<boolean | Unavailable>;
  /** The answer of the script that ran with this name as its only key. */
  run(script: string, name: string, args: readonly (string | Buffer)[]): Promise<unknown | Unavailable>;
  /** Whether it answered of late. */
  available(): boolean;
  close(): void;
}

/** Where one token is kept, under one master key. */
export interface SealedPlace {
  /** A keyed hash: without the master key and the assertion it can neither be made nor recognised. */
  readonly name: string;
  seal(text: string): Buffer;
  /** Undefined for a value that was not sealed for this place, or was changed since. */
  open(sealed: Buffer): string | undefined;
}

/** A token of Entra that Redis is signed in to with: `AUTH <object id> <token>`. */
export interface RedisToken {
  readonly token: Secret;
  /** `oid` of the token: the name by which the access policy of the Redis knows the identity. */
  readonly objectId: string;
  /** Ms since the epoch. */
  readonly expiresAt: number;
}

/** Asks Entra for a token. Never rejects, and takes a bounded time; the problem is the end of a sentence. */
export type RedisTokenSource = () => Promise<RedisToken | NoRedisToken>;

export interface NoRedisToken {
  readonly problem: string;
  /** Whether it may pass by itself, as an outage of Entra does. */
  readonly isPassing: boolean;
  readonly retryAfterSeconds?: number | undefined;
}

export interface Sealing {
  /**
   * One place for each master key, the one that seals first.
   *
   * @param binding What the token is for: authority, client, tenant and scopes, unambiguously.
   */
  places(assertion: Secret, binding: string): readonly [SealedPlace, ...SealedPlace[]];
  /** Names for what is known about a user across assertions, again one for each master key. */
  userNames(user: string): readonly [string, ...string[]];
}

/** Counts that processes keep together. */
export interface SharedCounters {
  /** A keyed hash: a reader of Redis learns neither who is counted nor, by trying known ids, whether a user is. */
  nameOf(subject: string): string;
  /**
   * Runs a script, atomically, with the name as `KEYS[1]`. Ends within the time budget and never rejects;
   * `undefined` means that it may or may not have run.
   */
  run(script: string, name: string, args: readonly string[]): Promise<unknown | Unavailable>;
}

/** One Redis, opened: where sealed tokens are kept and counts are made. */
export interface OpenRedis {
  readonly store: RedisStore;
  readonly sealing: Sealing;
  readonly counters: SharedCounters;
  /** Master keys as they are now: the first one seals, all open. The same list until they change. */
  masterKeys(): readonly Secret[];
  available(): boolean;
  /** Looks at the file of the master keys, where there is one. Never rejects. */
  reload(): Promise<void>;
  close(): void;
}

/** A connection's failures. They cost exchanges with Entra and exact counts of limits, and nothing else. */
export type RedisEvent =
  /** One operation came to nothing; the reason is a short label such as `timeout` or `OOM`. */
  | { readonly type: "shared_failed"; readonly reason: string }
  /** Failures in a row: nothing is asked until it answers again. */
  | { readonly type: "shared_suspended"; readonly reason: string }
  /** Its memory is full and it evicts nothing: reads go on, writes are lost. Said once until a write succeeds again. */
  | { readonly type: "shared_full" }
  | { readonly type: "shared_resumed" }
  /**
   * It does not accept who the gateway is (WRONGPASS, NOAUTH) or what it asks for (NOPERM). Said once until it accepts
   * the gateway again. The object id is that of the identity, where it is signed in to with tokens of Entra.
   */
  | { readonly type: "shared_refused"; readonly reason: string; readonly objectId: string | undefined }
  | { readonly type: "shared_accepted" }
  /** Entra gave no token to sign in with; the one before serves until its end, where it has not ended. */
  | { readonly type: "shared_token_failed"; readonly problem: string; readonly expiresAt: number | undefined }
  /** The file of the master keys has a new content, which seals from now on. */
  | { readonly type: "shared_keys_taken"; readonly keys: number }
  /** The file of the master keys cannot be used any more; the keys that it held serve on. */
  | { readonly type: "shared_keys_kept"; readonly problem: string };
