/** Demands that a sign-in has met: the same one again within minutes means that another sign-in would not help. */

import { isJsonObject } from "../../foundation/json.ts";

export interface Met {
  /** `digestOf` the demand. */
  readonly demand: string;
  /** When the sign-in began or ended, ms since the epoch. */
  readonly at: number;
}

/** A demand that comes back later than this is a new one: an authentication context wears off, a policy changes. */
const MET_MS = 10 * 60_000;
/** Different demands one after the other that sign-ins are made for. One more is taken for a circle of several. */
export const MOST_MET = 4;

export function stillMet(met: readonly Met[], now: number): readonly Met[] {
  return met.filter(({ at }) => at + MET_MS > now);
}

/** When the last of them stops to count, ms since the epoch. */
export function endOf(met: readonly Met[]): number {
  return Math.max(...met.map(({ at }) => at)) + MET_MS;
}

/** From a text that the gateway has sealed or stored itself. */
export function readMet(value: unknown): readonly Met[] {
  if (!Array.isArray(value)) return [];
  return value.filter(
    (one): one is Met => isJsonObject(one) && typeof one.demand === "string" && typeof one.at === "number",
  );
}
