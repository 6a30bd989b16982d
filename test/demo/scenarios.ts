/** What the sample page can switch: each scenario is a few requests to the emulator's control port. */

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly effect: string;
  /** The change is seen with a new token of the user only. */
  readonly renew: boolean;
  /** Resolves to what ends it; undefined where it ends by itself. */
  begin(control: ControlPort, user: string): Promise<(() => Promise<void>) | undefined>;
}

export interface ControlPort {
  post(path: string, body?: object): Promise<{ readonly id?: string }>;
  delete(path: string): Promise<void>;
}

/** Of the gateway's registration in the emulator. */
const GRAPH_SCOPES = [
  "User.Read",
  "User.Read.All",
  "Mail.ReadBasic",
  "Mail.Read",
  "Mail.ReadWrite",
  "Mail.Send",
  "Files.Read",
  "Files.ReadWrite",
];

const until =
  (path: string, body?: object) =>
  async (control: ControlPort): Promise<() => Promise<void>> => {
    const { id } = await control.post(path, body);
    return () => control.delete(`/interventions/${id}`);
  };

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "mfa",
    title: "MFA",
    effect: "A policy wants a second factor for Graph. The page gets the claims, and the user passes.",
    renew: true,
    begin: (control, user) => until(`/users/${user}/require-mfa`)(control),
  },
  {
    name: "revoked",
    title: "Revoke session",
    effect: "An administrator ends the user's sessions. The next call needs a new sign-in.",
    renew: false,
    async begin(control, user) {
      await control.post(`/users/${user}/revoke-sessions`);
      await control.post(`/users/${user}/graph-challenge`);
      return undefined;
    },
  },
  {
    name: "throttled",
    title: "Throttled Graph",
    effect: "Graph answers 429 with Retry-After. The page gets it as it is.",
    renew: false,
    begin: until("/graph/throttle", { retryAfter: 5 }),
  },
  {
    name: "consent",
    title: "Expired consent",
    effect:
      "The consent to Graph is gone. The page opens the consent page, where Edsger, an administrator, can accept.",
    renew: true,
    async begin(control) {
      await control.post("/consent/revoke");
      return async () => void (await control.post("/consent/grant", { scopes: GRAPH_SCOPES }));
    },
  },
  {
    name: "slow",
    title: "Slow Entra",
    effect: "Entra's token endpoint takes two seconds. Cached tokens are as fast as ever.",
    renew: true,
    begin: until("/faults", { endpoint: "token", behaviour: { kind: "delay", ms: 2_000 } }),
  },
  {
    name: "key",
    title: "New signing key",
    effect: "Entra signs with another key. The gateway fetches the key set again, and the call succeeds.",
    renew: true,
    async begin(control) {
      await control.post("/keys/roll");
      return undefined;
    },
  },
  {
    name: "credential",
    title: "Broken credential",
    effect: "Entra does not accept the gateway's proof of identity. Callers get 503; the operator must act.",
    renew: true,
    begin: until("/refusals", { code: 70021, grant: "on-behalf-of" }),
  },
];
