/** A value, of a file or of an issuer, that is replaced while the gateway runs: the newest good one serves, for as long as it is valid. */

import { createHash } from "node:crypto";
import { ConfigurationError, GatewayError } from "../errors.ts";
import { type RegularFileOptions, readRegularFile, versionOfFile } from "../foundation/regular-file.ts";
import type { CredentialSource, SourceStatus, TrialVerdict } from "./contract.ts";
import type { SourcePorts } from "./source.ts";

export interface Loaded<Value> {
  /** Counts the different values since the start, from 1. */
  readonly generation: number;
  readonly value: Value;
}

/** A question whether to look for a newer value now. */
export interface Look {
  /** Wanted though nothing says that there is something newer. */
  readonly force: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly previousAt: number;
  readonly expiresAt: number;
}

export interface ReloadingValueOptions<Value> {
  readonly source: CredentialSource;
  /** Where values come from, for messages: a path, or the name of an issuer. */
  readonly origin: string;
  /** How long before its `expiresAt` a value is no longer handed out, ms. */
  readonly marginMs: number;
  readonly isDue: (look: Look) => boolean;
  /** Whether a value that is still valid is handed out without waiting for the look at a newer one. Default false. */
  readonly inBackground?: boolean;
  /**
   * Gives a newer value, which will be `generation`, or undefined when there is none. Not called while a call is
   * under way. Rejects with ConfigurationError, whose text never quotes a secret.
   */
  readonly load: (force: boolean, generation: number) => Promise<Value | undefined>;
  /**
   * Tries a newer value while the current one serves on. Undefined, or a function that gives undefined: it needs no
   * trial. Never rejects.
   */
  readonly trial?: ((candidate: Value, current: Value) => Promise<TrialVerdict> | undefined) | undefined;
}

export interface ReloadingValue<Value> {
  /** The newest good value that is still valid. Rejects with `credential_unavailable` when there is none. */
  read(): Promise<Loaded<Value>>;
  /**
   * Replaces the value when there is a newer one; at once, without trial, when that is forced, since then the
   * current one is of no use. `status()` reports faults; none is thrown.
   */
  look(force: boolean): Promise<void>;
  status(): SourceStatus;
}

/** @throws {ConfigurationError} when there is no good value right now. */
export async function openReloadingValue<Value extends { readonly expiresAt: number }>(
  options: ReloadingValueOptions<Value>,
  { now, emit }: SourcePorts,
): Promise<ReloadingValue<Value>> {
  const { source, origin, marginMs, trial, inBackground = false } = options;
  let lookedAt = now();
  let fault: SourceStatus["fault"];
  const first = await options.load(true, 1);
  if (first === undefined) throw new TypeError("the first load must give a value");
  let loaded: Loaded<Value> = { generation: 1, value: first };
  const trials = createTrials<Value>({
    now,
    onAccepted: (candidate) => take(candidate, "was accepted by Entra and serves now"),
    onFailed: (problem) => tell("trial_failed", `${origin} holds a new ${source} credential: ${problem}`),
  });

  async function look(force: boolean): Promise<void> {
    const at = now();
    const isOver = loaded.value.expiresAt - marginMs <= at;
    const waiting = trials.candidate();
    if (waiting !== undefined && (force || isOver))
      take(waiting, "serves untried, since the one before does not");
    else trials.repeat();
    if (!options.isDue({ force, at, previousAt: lookedAt, expiresAt: loaded.value.expiresAt })) return;
    lookedAt = at;
    const failedBefore = fault !== undefined;
    try {
      const generation = (trials.candidate() ?? loaded).generation + 1;
      const value = await options.load(force, generation);
      fault = undefined;
      if (value === undefined) {
        if (failedBefore) tell("reloaded", `${origin} is usable again`);
        return;
      }
      const current = loaded.value;
      const attempt = force || isOver ? undefined : () => trial?.(value, current);
      if (attempt === undefined || !trials.begin({ generation, value }, attempt))
        take({ generation, value }, "serves now");
    } catch (cause) {
      if (!(cause instanceof ConfigurationError)) throw cause;
      if (cause.message === fault?.problem) return;
      fault = { since: at, problem: cause.message };
      tell("reload_failed", cause.message);
    }
  }

  function take(next: Loaded<Value>, how: string): void {
    trials.end();
    loaded = next;
    tell("reloaded", `${origin} gave a new ${source} credential, which ${how}`);
  }

  function tell(type: "reloaded" | "reload_failed" | "trial_failed", message: string): void {
    emit({ type, source, generation: loaded.generation, message, expiresAt: loaded.value.expiresAt });
  }

  const sharedLook = coalesce(look);

  return {
    async read() {
      const looked = sharedLook(false);
      if (!inBackground || loaded.value.expiresAt - marginMs <= now()) await looked;
      const { expiresAt } = loaded.value;
      if (expiresAt - marginMs > now()) return loaded;
      const end = `what ${origin} last gave is valid until ${new Date(expiresAt).toISOString()}`;
      throw new GatewayError("credential_unavailable", {
        detail: "The gateway has no valid credential for Microsoft Entra at the moment.",
        reason: fault === undefined ? "expired" : "unreadable",
        diagnostics: { source, problem: fault === undefined ? end : `${fault.problem}; ${end}` },
      });
    },
    look: sharedLook,
    status: () => ({
      source,
      state: loaded.value.expiresAt - marginMs > lookedAt ? "usable" : "unusable",
      generation: loaded.generation,
      expiresAt: loaded.value.expiresAt,
      ...(fault === undefined ? {} : { fault }),
      ...trials.status(),
    }),
  };
}

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

interface Turn {
  force: boolean;
  readonly done: Promise<void>;
}

/**
 * Wraps `run` so that at most one is under way and at most one waits behind it. A caller during a run joins
 * the one after it: the run under way may have looked before the change that the caller already knows of.
 * A joined run is forced when any of its callers asked for that.
 */
export function coalesce(run: (force: boolean) => Promise<void>): (force: boolean) => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Turn | undefined;

  function begin(force: boolean): Promise<void> {
    const turn = run(force).finally(() => {
      if (next === undefined) running = undefined;
    });
    running = turn;
    return turn;
  }

  return (force) => {
    if (running === undefined) return begin(force);
    if (next !== undefined) {
      next.force ||= force;
      return next.done;
    }
    const follow = (): Promise<void> => {
      next = undefined;
      return begin(turn.force);
    };
    const turn: Turn = { force, done: running.then(follow, follow) };
    next = turn;
    return turn.done;
  };
}

export interface ReloadingFileOptions<Value> extends RegularFileOptions {
  readonly source: CredentialSource;
  /** Shortest time between two looks at the file, ms. 0 looks on each use. */
  readonly intervalMs: number;
  /** How long before its `expiresAt` a value is no longer handed out, ms. */
  readonly marginMs: number;
  /** Parses and checks a content. Rejects with ConfigurationError, whose text never quotes the content. */
  readonly parse: (
    content: Buffer,
    file: { readonly mode: number; readonly generation: number },
  ) => Promise<Value>;
  readonly trial?: ReloadingValueOptions<Value>["trial"];
}

/**
 * A credential file that is read again when it changes, however it is replaced.
 *
 * @throws {ConfigurationError} when the file is not usable right now.
 */
export function openReloadingFile<Value extends { readonly expiresAt: number }>(
  options: ReloadingFileOptions<Value>,
  ports: SourcePorts,
): Promise<ReloadingValue<Value>> {
  const { source, path, marginMs, intervalMs, trial } = options;
  // Of the last content that was good, so that a bad one is parsed again at each look: a certificate that is not
  // valid yet will be.
  let good: { readonly version: string; readonly digest: string } | undefined;

  async function load(force: boolean, generation: number): Promise<Value | undefined> {
    if (!force && (await versionOfFile(options)) === good?.version) return undefined;
    const { content, mode, version } = await readRegularFile(options);
    const digest = createHash("sha256").update(content).digest("base64");
    // A file that was only touched gives nothing new: what Entra refused, it would refuse again.
    const value = digest === good?.digest ? undefined : await options.parse(content, { mode, generation });
    good = { version, digest };
    return value;
  }

  return openReloadingValue(
    {
      source,
      origin: path,
      marginMs,
      // A clock that was set back must not postpone the next look.
      isDue: ({ force, at, previousAt }) => force || at < previousAt || at - previousAt >= intervalMs,
      load,
      trial,
    },
    ports,
  );
}
