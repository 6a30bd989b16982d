/** What slow requests of the second user waited for: times of both ends of the wire in, a line for each request out. */

/** Of the clock that all processes of a machine share, ms. */
export const sharedClock = (): number => Number(process.hrtime.bigint()) / 1e6;

/** A request as its sender saw it. */
export interface Journey {
  /** The correlation id, by which the gateway's half is found. */
  readonly id: string;
  readonly dueAt: number;
  readonly sentAt: number;
  /** When its connection stood; undefined where it went on one that was kept alive. */
  connectedAt: number | undefined;
  isNewConnection: boolean;
  readonly isNewcomer: boolean;
  endedAt: number;
  isServed: boolean;
}

/** The same request in the gateway. */
export interface Passage {
  readonly accepted?: number;
  /** When its head had been parsed. */
  readonly head: number;
  /** When it was handed to a connection to the API. */
  readonly forwarded?: number;
  readonly apiAnswered?: number;
  readonly written?: number;
}

export interface Passages {
  /** When connections were accepted, of all callers. */
  readonly accepts: readonly number[];
  readonly passages: readonly (readonly [string, Passage])[];
  /** What kept the main thread from the next turn for long. */
  readonly stops: readonly { readonly what: string; readonly at: number; readonly ms: number }[];
}

/**
 * The slowest requests that were due in this time, the slowest first, those without their answer before all: so many of the
 * steady user, then of newcomers, each of which takes as long as Entra; then the longest stops of the gateway's main thread.
 */
export function whereText(
  journeys: readonly Journey[],
  { accepts, passages, stops }: Passages,
  { from, until, most }: { readonly from: number; readonly until: number; readonly most: number },
): readonly string[] {
  const known = new Map(passages);
  const due = journeys.filter(({ dueAt }) => dueAt >= from && dueAt < until);
  const slowestOf = (ones: readonly Journey[]) =>
    [...ones].sort((one, other) => weight(other) - weight(one)).slice(0, most);
  const slowest = [
    ...slowestOf(due.filter(({ isNewcomer }) => !isNewcomer)),
    ...slowestOf(due.filter(({ isNewcomer }) => isNewcomer)),
  ].map((journey) => {
    const steps = stepsOf(journey, known.get(journey.id), accepts);
    const kinds = [
      ...(journey.isServed ? [] : ["NOT SERVED"]),
      ...(journey.isNewConnection ? ["new connection"] : []),
      ...(journey.isNewcomer ? ["newcomer"] : []),
    ];
    return (
      `due after ${(journey.dueAt - from).toFixed(0)} ms, ${(journey.endedAt - journey.dueAt).toFixed(0)} ms: ` +
      `${steps.join(", ")}${kinds.length === 0 ? "" : ` (${kinds.join(", ")})`}`
    );
  });
  const longest = stops
    .filter(({ at }) => at >= from && at < until)
    .sort((one, other) => other.ms - one.ms)
    .slice(0, most)
    .map(({ what, at, ms }) => `stopped after ${(at - from).toFixed(0)} ms for ${ms.toFixed(0)} ms: ${what}`);
  return [...slowest, ...longest];
}

function weight({ isServed, dueAt, endedAt }: Journey): number {
  return endedAt - dueAt + (isServed ? 0 : 1e9);
}

function stepsOf(journey: Journey, passage: Passage | undefined, accepts: readonly number[]): string[] {
  const steps: string[] = [];
  let last = journey.dueAt;
  const step = (name: string, at: number | undefined) => {
    if (at === undefined) return;
    steps.push(`${name} ${Math.max(0, at - last).toFixed(1)}`);
    last = Math.max(last, at);
  };
  step("sent", journey.sentAt);
  if (journey.isNewConnection) {
    step("connected", journey.connectedAt);
    const { connectedAt = Number.POSITIVE_INFINITY } = journey;
    const { accepted = 0 } = passage ?? {};
    const ahead = accepts.filter((at) => at >= connectedAt && at < accepted).length;
    step(`accepted behind ${ahead}`, passage?.accepted);
  }
  step("head", passage?.head);
  step("forwarded", passage?.forwarded);
  step("API", passage?.apiAnswered);
  step("written", passage?.written);
  step("ended", journey.endedAt);
  return steps;
}
