/** Situations of production that a team's own code should survive, each put upon an emulator by one call. */

import type { Emulator, Removable, UserRef } from "../emulator/handle.ts";

type Scenario = (emulator: Emulator, user: UserRef) => Removable;

const removable = (remove: () => void): Removable => ({ remove });

/** Every one lasts until `remove()`, except `sessionsRevoked`, after which the user needs a new token. */
export const scenarios = {
  /** The API asks for a second factor: 401 `claims_challenged` or `interaction_required`. */
  secondFactorRequired: (emulator, user) => emulator.requireMfa(user),
  /** Consent for the API is missing: 403 `consent_required`. */
  consentMissing: (emulator, user) => emulator.refuse({ code: 65001, user }),
  /** The user is not assigned to the application: 403 `not_assigned`. */
  userNotAssigned(emulator, user) {
    emulator.unassignUser(user);
    return removable(() => emulator.assignUser(user));
  },
  /** The user's sessions ended: the next exchange is refused, and Graph challenges tokens of before. */
  sessionsRevoked(emulator, user) {
    emulator.revokeSessions(user);
    return removable(() => {});
  },
  /** Entra answers 503: cached tokens go on, new exchanges are 503 `authority_unavailable`. */
  authorityUnavailable: (emulator) =>
    emulator.faults.inject({ endpoint: "token", behaviour: { kind: "json", status: 503 } }),
  /** Entra answers 429 with Retry-After: `authority_throttled`. */
  authorityThrottled: (emulator) =>
    emulator.faults.inject({
      endpoint: "token",
      behaviour: { kind: "text", status: 429, retryAfter: 7 },
    }),
  /** Graph answers 429 with Retry-After, which passes through to the caller. */
  graphThrottled: (emulator) => emulator.graph.throttle({ retryAfter: 7 }),
  /** Graph's connections die before an answer: 502 `downstream_unreachable`. */
  graphUnreachable: (emulator) =>
    emulator.faults.inject({ endpoint: "graph", behaviour: { kind: "reset", when: "before-headers" } }),
  /** Entra does not accept the gateway's credential: 503 `client_rejected`. */
  credentialRejected: (emulator) => emulator.refuse({ code: 7000215 }),
} satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof scenarios;
