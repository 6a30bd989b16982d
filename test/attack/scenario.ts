/** What an attack is made of, and what it may use: types only. */

import type { Target } from "../bench/result.ts";
import type { Attacker } from "./wire.ts";

export interface Scenario {
  /** Begins with the family, which `--only` also takes: `a1-no-token`. */
  readonly name: string;
  /** What the attacker does, as a line of the table. */
  readonly title: string;
  /** Whether the short form plays it. */
  readonly quick?: boolean;
  /** Added to the gateway's configuration. */
  readonly settings?: Settings;
  /** A key below `routes[]` without which this build cannot be attacked in this way. */
  readonly needsRouteKey?: string;
  /** Requests a second by users whom the gateway has never seen, among the second user's. Default 0. */
  readonly newcomersPerSecond?: number;
  /** Whether the same attack is made on a server of `node:http` alone, whose memory is compared with the gateway's. */
  readonly comparesMemory?: boolean;
  /** How long the attack is measured, ms. Default: the run's. */
  readonly ms?: number;
  /** What the surroundings are like before and during the attack. */
  readonly prepare?: (surroundings: Surroundings) => Promise<void>;
  /** Begins the attack and keeps it up by itself; resolves when `over` does, with targets of this attack alone. */
  readonly attack: Attack;
}

export type Attack = (stage: AttackStage) => Promise<readonly Target[]>;

export interface Settings {
  readonly http?: Readonly<Record<string, unknown>>;
  readonly exchange?: Readonly<Record<string, unknown>>;
  /** Of the one downstream API. */
  readonly api?: Readonly<Record<string, unknown>>;
  /** Routes besides `/graph`. */
  readonly routes?: readonly Readonly<Record<string, unknown>>[];
}

/** What scenarios ask of Entra, which is another process: each call is a message and its answer. Users go by their object ids. */
export interface Entra {
  addUsers(count: number): Promise<readonly string[]>;
  mintTokens(wanted: readonly WantedToken[]): Promise<readonly string[]>;
  /** From now on the token endpoint answers so many ms later. */
  delayTokens(ms: number): Promise<void>;
  refuse(refusal: Refusal): Promise<void>;
  revokeSessions(user: string): Promise<void>;
  /** As in an emergency: a key that no key set has shown before signs, and is published then. */
  rollKeys(): Promise<void>;
  /** How often the key set has been read. */
  keyReads(): Promise<number>;
  /** How many requests for tokens have come with an assertion of this user. */
  tokenRequests(user: string): Promise<number>;
}

/** A token for the gateway. */
export interface WantedToken {
  /** Default: a user whom the gateway has not seen. */
  readonly user?: string;
  /** Default: the front end. */
  readonly clientId?: string;
  readonly capabilities?: readonly string[];
  /** Merged over all others. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** Of requests for tokens of these users. */
export interface Refusal {
  readonly users: readonly string[];
  /** AADSTS number. */
  readonly code: number;
  readonly retryAfterSeconds?: number;
}

export interface Surroundings {
  readonly entra: Entra;
  readonly quick: boolean;
  /** A token of a user whom the gateway has not seen; a scenario takes a few at most. */
  newToken(): string;
}

export interface AttackStage extends Surroundings {
  readonly port: number;
  readonly adminPort: number;
  readonly attacker: Attacker;
  /** How long the attack is measured, ms. */
  readonly ms: number;
  /** The end of the time in which the attack is measured; what it holds, it goes on holding. */
  readonly over: Promise<void>;
  isOver(): boolean;
}
