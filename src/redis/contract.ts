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
  available(): boolean;
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
  | { readonly type: "shared_resumed" };
