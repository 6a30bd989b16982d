/** What a check is and what it can say: plain language for people, stable names for machines. */

/**
 * `ok` and `warning` do not keep the gateway from working; a `fault` does. `skipped` could not be looked at because
 * an earlier check failed, or because what it needs was not given.
 */
export type Outcome = "ok" | "warning" | "fault" | "skipped";

export interface Verdict {
  readonly outcome: Outcome;
  /** Sentence about what was found. Never holds a token, a key or a password. */
  readonly finding: string;
  /** Sentence about what to do; each fault and each warning has one. */
  readonly fix?: string;
  /** Shell commands that correct it, or that show what to compare. */
  readonly commands?: readonly string[];
  /** What was measured, for machines and for comparing by eye. */
  readonly facts?: Readonly<Record<string, string | number>>;
}

/** In the order in which they run. */
export const CHECK_NAMES = [
  "configuration",
  "assembly",
  "audiences",
  "tenants",
  "paging-links",
  "required-scopes",
  "allowed-paths",
  "ports",
  "descriptors",
  "memory",
  "proxy",
  "discovery",
  "clock",
  "signing-keys",
  "credential",
  "federated-token",
  "certificate",
  "client-secret",
  "issued-token",
  "token-request",
  "user-token",
  "exchange",
  "shared-cache",
  "downstream",
  "mcp-keys",
  "mcp-documents",
  "mcp-registration",
] as const;

/** Stable: what `--skip` names and machines branch on. */
export type CheckName = (typeof CHECK_NAMES)[number];

export interface Check {
  readonly name: CheckName;
  /** Which one of several: a tenant, a credential source, an API. */
  readonly about?: string;
  run(): Promise<Verdict>;
}

type Rest = Omit<Verdict, "outcome" | "finding">;

export const ok = (finding: string, rest: Rest = {}): Verdict => ({ outcome: "ok", finding, ...rest });

export const skipped = (finding: string): Verdict => ({ outcome: "skipped", finding });

export const warning = (finding: string, fix: string, rest: Omit<Rest, "fix"> = {}): Verdict => ({
  outcome: "warning",
  finding,
  fix,
  ...rest,
});

export const fault = (finding: string, fix: string, rest: Omit<Rest, "fix"> = {}): Verdict => ({
  outcome: "fault",
  finding,
  fix,
  ...rest,
});

/** One value, obtained when it is first asked for: checks share what is slow to get. */
export function once<T>(obtain: () => Promise<T>): () => Promise<T> {
  let value: Promise<T> | undefined;
  return () => {
    value ??= obtain();
    return value;
  };
}
