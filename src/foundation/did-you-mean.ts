/** Points a misspelt name at the nearest right one. */

import { closest, distance } from "fastest-levenshtein";

/** Letters to add, drop or replace until one word is the other. */
export function editsBetween(one: string, other: string): number {
  return distance(one, other);
}

/** `; did you mean "graph"?` when a candidate is near enough to be what was meant, else nothing. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  if (candidates.length === 0) return "";
  const nearest = closest(word, [...candidates]);
  return distance(word, nearest) <= Math.max(2, Math.floor(word.length / 3))
    ? `; did you mean "${nearest}"?`
    : "";
}
