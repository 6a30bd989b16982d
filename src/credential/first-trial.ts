/** The first trial of the credential: Entra accepts a proof once before requests are sent to this process. */

import { setTimeout as delay } from "node:timers/promises";
import { GatewayError } from "../errors.ts";
import type {
  Canary,
  ClientAuthentication,
  ClientCredential,
  CredentialEvent,
  CredentialStatus,
  TrialVerdict,
} from "./contract.ts";

/** Pause after a refusal: a federated credential that was just registered is known everywhere after seconds or minutes. */
const REFUSED_PAUSE_MS = 15_000;
/** Pause after a trial that decided nothing, as in an outage. */
const UNDECIDED_PAUSE_MS = 15_000;
/** Proofs tried in one trial; each refused source hands over to the next one. */
const MOST_PROOFS = 8;

export interface FirstTrialOptions {
  /** Undefined: no trial is made, and the credential counts as accepted. */
  readonly canary: Canary | undefined;
  readonly credential: Required<Pick<ClientCredential, "authenticate" | "refused">>;
  readonly emit: (type: CredentialEvent["type"], message: string) => void;
  /** Default: a timer that does not keep the process alive. Rejects when the signal fires. */
  readonly pause?: (milliseconds: number, signal: AbortSignal | undefined) => Promise<void>;
}

export interface FirstTrial {
  /**
   * Tries the credential until Entra has accepted it once. Resolves when the first trial has ended, however it ended;
   * what follows happens in the background until the signal fires. Never rejects.
   */
  run(signal?: AbortSignal): Promise<void>;
  status(): Pick<CredentialStatus, "accepted" | "firstTrial">;
}

type State = CredentialStatus["firstTrial"];

/**
 * A trial that decides nothing, because Entra cannot be reached, leaves the process ready: an outage of Entra must not
 * stop a roll-out whose other requests are served from caches. A refusal does, since every exchange would end in it.
 */
export function createFirstTrial(options: FirstTrialOptions): FirstTrial {
  const { canary, credential, emit, pause = pauseUnreferenced } = options;
  let state: State = canary === undefined ? { state: "accepted" } : { state: "pending" };

  async function tryOnce({ request, proveWith }: Canary): Promise<TrialVerdict> {
    let refused: TrialVerdict | undefined;
    for (let proof = 0; proof < MOST_PROOFS; proof += 1) {
      let authentication: ClientAuthentication;
      try {
        authentication = await credential.authenticate(request);
      } catch (cause) {
        // The ring has reported why its sources are unusable, and `usable` says so; a refusal seen before it stands.
        if (!(cause instanceof GatewayError)) throw cause;
        return refused ?? { verdict: "undecided", problem: cause.message };
      }
      const verdict = await proveWith(authentication);
      if (verdict.verdict !== "refused" || !(await credential.refused(authentication))) return verdict;
      refused = verdict;
    }
    return refused as TrialVerdict;
  }

  function note(verdict: TrialVerdict): void {
    const before = state;
    state =
      verdict.verdict === "accepted"
        ? { state: "accepted" }
        : { state: verdict.verdict, problem: verdict.problem };
    if (state.state === before.state && state.problem === before.problem) return;
    if (verdict.verdict === "accepted") emit("accepted", "Entra accepts the gateway's credential");
    if (verdict.verdict === "refused")
      emit(
        "trial_failed",
        `Entra does not accept the gateway's credential (${verdict.problem}); this process stays unready until Entra does`,
      );
    if (verdict.verdict === "undecided")
      emit(
        "trial_failed",
        `whether Entra accepts the gateway's credential could not be found out (${verdict.problem}); it is tried again`,
      );
  }

  async function repeat(tried: Canary, signal: AbortSignal | undefined): Promise<void> {
    while (state.state !== "accepted") {
      await pause(state.state === "refused" ? REFUSED_PAUSE_MS : UNDECIDED_PAUSE_MS, signal);
      note(await tryOnce(tried));
    }
  }

  async function begin(tried: Canary, signal: AbortSignal | undefined): Promise<void> {
    note(await tryOnce(tried).catch(defect));
    // Ends when Entra has accepted the credential, or by the signal.
    repeat(tried, signal).catch((cause: unknown) => {
      if (signal?.aborted !== true) note(defect(cause));
    });
  }

  let begun: Promise<void> | undefined;

  return {
    async run(signal) {
      if (canary !== undefined) begun ??= begin(canary, signal);
      await begun;
    },
    status: () => ({
      accepted: state.state === "accepted" || state.state === "undecided",
      firstTrial: state,
    }),
  };
}

/** A defect of this process says nothing about the credential. Its message may quote the proof, so its kind alone is kept. */
function defect(cause: unknown): TrialVerdict {
  return {
    verdict: "undecided",
    problem: `the trial failed (${cause instanceof Error ? cause.name : typeof cause})`,
  };
}

async function pauseUnreferenced(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(milliseconds, undefined, { ref: false, signal });
}
