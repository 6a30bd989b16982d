/** The trial of a value that is to replace another one: repeated until it is accepted or something newer comes. */

import type { SourceStatus, TrialVerdict } from "./contract.ts";

/** Pause after a refusal. A new certificate is often in the file before it is registered. */
const REFUSED_PAUSE_MS = 60_000;
/** Pause after a trial that decided nothing, as in an outage. */
const UNDECIDED_PAUSE_MS = 15_000;

interface Candidate<Value> {
  readonly generation: number;
  readonly value: Value;
}

export interface TrialsOptions<Value> {
  readonly now: () => number;
  readonly onAccepted: (candidate: Candidate<Value>) => void;
  /** Called once for each thing that goes wrong, not for each attempt. */
  readonly onFailed: (problem: string) => void;
}

export interface Trials<Value> {
  /** Puts a candidate on trial, in place of any other. False when it needs none: `attempt` gives undefined. */
  begin(candidate: Candidate<Value>, attempt: () => Promise<TrialVerdict> | undefined): boolean;
  /** Tries the candidate again if its last trial failed long enough ago. */
  repeat(): void;
  end(): void;
  candidate(): Candidate<Value> | undefined;
  /** Part of the source's status. */
  status(): Pick<SourceStatus, "candidate" | "fault">;
}

/** Trials run in the background, one at a time; a proof never waits for one. */
export function createTrials<Value>({ now, onAccepted, onFailed }: TrialsOptions<Value>): Trials<Value> {
  let current:
    | {
        readonly candidate: Candidate<Value>;
        readonly attempt: () => Promise<TrialVerdict> | undefined;
        running: boolean;
        endedAt: number;
        failed:
          | { readonly state: "refused" | "undecided"; readonly since: number; readonly problem: string }
          | undefined;
      }
    | undefined;

  async function settle(verdict: Promise<TrialVerdict>, tried: NonNullable<typeof current>): Promise<void> {
    tried.running = true;
    const outcome = await verdict;
    tried.running = false;
    // Something newer has come meanwhile, or the candidate had to take over.
    if (current !== tried) return;
    if (outcome.verdict === "accepted") return onAccepted(tried.candidate);
    tried.endedAt = now();
    const problem =
      outcome.verdict === "refused"
        ? `Entra does not accept it (${outcome.problem}); is it registered? The one before serves on`
        : `whether Entra accepts it could not be found out (${outcome.problem}); the one before serves on`;
    if (tried.failed?.problem === problem) return;
    tried.failed = { state: outcome.verdict, since: now(), problem };
    onFailed(problem);
  }

  return {
    begin(candidate, attempt) {
      const verdict = attempt();
      if (verdict === undefined) return false;
      current = { candidate, attempt, running: false, endedAt: 0, failed: undefined };
      void settle(verdict, current);
      return true;
    },
    repeat() {
      if (current === undefined || current.running) return;
      const pauseMs = current.failed?.state === "refused" ? REFUSED_PAUSE_MS : UNDECIDED_PAUSE_MS;
      const sinceMs = now() - current.endedAt;
      // A clock that was set back must not postpone the next trial.
      if (sinceMs >= 0 && sinceMs < pauseMs) return;
      const verdict = current.attempt();
      if (verdict !== undefined) void settle(verdict, current);
    },
    end() {
      current = undefined;
    },
    candidate: () => current?.candidate,
    status() {
      if (current === undefined) return {};
      const { candidate, failed } = current;
      return {
        candidate: { generation: candidate.generation, state: failed?.state ?? "on trial" },
        ...(failed === undefined ? {} : { fault: { since: failed.since, problem: failed.problem } }),
      };
    },
  };
}
