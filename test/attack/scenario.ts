/** What an attack is made of, and what it may use: types only. */

import type { Target } from "../bench/result.ts";
import type { Emulator } from "../emulator/handle.ts";
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
  readonly prepare?: (surroundings: Surroundings) => void;
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

export interface Surroundings {
  readonly emulator: Emulator;
  readonly quick: boolean;
  /** A token of a user whom the gateway has not seen. */
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
