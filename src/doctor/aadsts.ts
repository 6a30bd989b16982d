/** What Entra's AADSTS numbers mean for an operator, and what mends them. */

import { CREDENTIAL_ROWS } from "./aadsts-credential.ts";
import { REQUEST_ROWS } from "./aadsts-request.ts";
import type { FederatedIdentity, Registration } from "./commands.ts";

/** What the commands are about. */
export interface Situation {
  readonly registration: Registration;
  /** Resource that was asked for: `https://graph.microsoft.com`. */
  readonly resource: string;
  /** Who the gateway's federated token says it is, where one was sent. */
  readonly identity?: FederatedIdentity | undefined;
}

export interface Explanation {
  readonly meaning: string;
  readonly mend: string;
  readonly commands: readonly string[];
}

/** Numbers and texts of Entra change without notice, so an unknown number is no fault of the tables. */
export interface AadstsRow {
  readonly numbers: readonly number[];
  readonly meaning: string;
  readonly mend: string;
  readonly commands?: (situation: Situation) => readonly string[];
}

const BY_NUMBER = new Map(
  [...CREDENTIAL_ROWS, ...REQUEST_ROWS].flatMap((row) => row.numbers.map((number) => [number, row] as const)),
);

/** The explanation of the first number that has one: Entra puts the most telling number first. */
export function explain(numbers: readonly number[], situation: Situation): Explanation | undefined {
  for (const number of numbers) {
    const row = BY_NUMBER.get(number);
    if (row !== undefined)
      return { meaning: row.meaning, mend: row.mend, commands: row.commands?.(situation) ?? [] };
  }
  return undefined;
}
