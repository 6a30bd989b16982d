/** What a scenario hands over: rows to read, and the targets that it measured. */

export interface Column {
  readonly name: string;
  /** Digits after the point. */
  readonly digits: number;
  /** Written behind each figure. */
  readonly unit?: string;
}

export interface Row {
  readonly name: string;
  /** One for each column; `undefined` where nothing was or could be measured. */
  readonly figures: readonly (number | undefined)[];
}

export interface Target {
  readonly what: string;
  readonly value: number;
  /** The same ratio by processor time per request, which other work on the machine hardly moves. */
  readonly byProcessor?: number;
  readonly digits: number;
  readonly limit: { readonly atLeast: number } | { readonly atMost: number };
}

export interface Result {
  /** What was measured, under which load. */
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  readonly targets: readonly Target[];
  /** Sentences without which the figures would be misread. */
  readonly notes?: readonly string[];
}

/** One that could not be measured is missed; one with a ratio by processor time must hold by both. */
export function isMet({ value, byProcessor = value, limit }: Target): boolean {
  const holds = (figure: number) => ("atLeast" in limit ? figure >= limit.atLeast : figure <= limit.atMost);
  return holds(value) && (Number.isNaN(byProcessor) || holds(byProcessor));
}
