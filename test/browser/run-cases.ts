/** Runs the cases of the browser client in the engine that it is loaded into, after it was bundled. */

import { CASES, type Surroundings } from "./cases.ts";

/** Undefined where the case passed. */
export async function runCase(name: string, surroundings: Surroundings): Promise<string | undefined> {
  try {
    await CASES[name]?.(surroundings);
    return undefined;
  } catch (error) {
    return String((error as Error).stack ?? error);
  }
}

export const names = Object.keys(CASES);
