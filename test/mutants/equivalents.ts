/** Mutants that change nothing that a caller, an operator or another room could see: reviewed, each with its reason. */

import { readFileSync } from "node:fs";
import { parse } from "yaml";
import type { Mutant } from "./runner.ts";

export interface Equivalent {
  readonly file: string;
  /** The line of the source as it stands, without blanks around it. */
  readonly code: string;
  /** Pairs of what is changed and what it becomes; `*` for all mutants of the line. */
  readonly changes: readonly (readonly [original: string, replacement: string])[] | "*";
  readonly reason: string;
}

export function readEquivalents(): readonly Equivalent[] {
  return (parse(readFileSync(new URL("./equivalents.yaml", import.meta.url), "utf8")) ?? []) as Equivalent[];
}

const plain = (text: string) => text.replace(/\s+/g, " ").trim();

export function equivalenceOf(mutant: Mutant, equivalents: readonly Equivalent[]): Equivalent | undefined {
  return equivalents.find(
    ({ file, code, changes }) =>
      file === mutant.file &&
      code === mutant.code &&
      (changes === "*" ||
        changes.some(
          ([original, replacement]) =>
            plain(original) === plain(mutant.original) && plain(replacement) === plain(mutant.replacement),
        )),
  );
}
