/** Types of the delegations room: a user's leave for jobs to act in the user's absence, its port and its events. */

import type { OfflineGrants } from "../exchange/contract.ts";
import type { Principal, VerifiedCaller } from "../identity/contract.ts";
import type { OpenRedis } from "../redis/contract.ts";

/** What an operator allows. */
export interface DelegationRules {
  /** Client ids of the jobs; a handle serves none but these, and those of its own creation. */
  readonly clients: readonly string[];
  /** Longest life of a delegation, days from its creation. */
  readonly maxDays: number;
  /** Delegations that one user may have at once. */
  readonly maxPerUser: number;
  /** Delegations that all users of one client, by which they delegate, may have at once. */
  readonly maxPerClient: number;
  /** Application role whose holders may end any delegation of their tenant; without it, none may. */
  readonly adminRole?: string | undefined;
}

export interface DelegationsOptions {
  readonly rules: DelegationRules;
  /** Names the gateway among others that keep delegations in the same Redis. */
  readonly authorityHost: string;
  readonly clientId: string;
  /** Scopes of the API for which Entra is asked for the first refresh token; it redeems for every other one, too. */
  readonly scopes: readonly string[];
  readonly redis: Pick<OpenRedis, "store" | "sealing">;
  readonly exchange: OfflineGrants;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: DelegationEvent) => void;
}

export interface Delegations {
  /** Keeps the user's leave. Rejects with a GatewayError. */
  keep(asked: {
    readonly caller: Pick<VerifiedCaller, "principal" | "assertion">;
    readonly correlationId: string;
    readonly signal?: AbortSignal;
  }): Promise<KeptDelegation>;
  /**
   * The user behind a handle, for one request of a job. Rejects with `delegation_ended` for every handle that does not
   * serve this job, whatever the reason, after the same work.
   */
  resume(asked: {
    readonly handle: string;
    /** The caller that presents the handle. */
    readonly job: Principal;
    readonly correlationId: string;
    readonly route: string | undefined;
  }): Promise<ResumedDelegation>;
  /** The user's delegations that are alive, the youngest first. */
  list(user: Principal): Promise<readonly ListedDelegation[]>;
  /** Whether there was one with this id that the caller may end. It is over when the promise resolves. */
  end(asked: {
    readonly id: string;
    readonly by: Principal;
    readonly correlationId: string;
  }): Promise<boolean>;
}

export interface ListedDelegation {
  /** A digest of the handle, which leads to nothing: for lists, logs and `DELETE /delegations/{id}`. */
  readonly id: string;
  /** Ms since the epoch. */
  readonly createdAt: number;
  /** Ms since the epoch. */
  readonly expiresAt: number;
  /** Client ids of the jobs that it serves. */
  readonly clients: readonly string[];
}

export interface KeptDelegation extends ListedDelegation {
  /** Shown this once. Worth nothing without the token of one of `clients`. */
  readonly handle: string;
}

/** A user in whose absence one request of a job acts. */
export interface ResumedDelegation {
  readonly id: string;
  /** The user as of the day of the delegation, with the job as client. */
  readonly caller: VerifiedCaller;
  /** Puts a demand on the user into words for a job, and reports it; returns every other error as it is. */
  demanded(error: unknown): unknown;
}

/** Which delegation an event is about, and for whom. Ids only. */
export interface DelegationFacts {
  readonly correlationId: string;
  /** Digest of the handle; of one that is not known, too. */
  readonly id: string;
  readonly tenantId: string;
  /** `oid` of the user; absent where it is not known. */
  readonly objectId?: string | undefined;
  /** The client by which the user delegated or ended it, or the job. */
  readonly clientId: string;
  readonly route?: string | undefined;
}

/** `expired` and `unknown` may be one: Redis forgets a delegation at its end. */
export type ResumeRefusal = "unknown" | "expired" | "tenant" | "client";

export type DelegationEvent =
  | { readonly type: "created"; readonly facts: DelegationFacts; readonly expiresAt: number }
  /** A job acts as the user, for one request. */
  | { readonly type: "used"; readonly facts: DelegationFacts }
  /** A job presented a handle that does not serve it. */
  | { readonly type: "refused"; readonly facts: DelegationFacts; readonly reason: ResumeRefusal }
  /** Entra's next refresh token took the place of the one before. */
  | { readonly type: "renewed" }
  /** The next refresh token could not be kept; the one before it goes on. */
  | { readonly type: "renewal_lost" }
  /** Entra, or the API, wants of the user what no job can give: these are to be sent to the user. */
  | {
      readonly type: "user_needed";
      readonly facts: DelegationFacts;
      readonly code: string;
      readonly claims: string | undefined;
      readonly consentUri: string | undefined;
    }
  | {
      readonly type: "ended";
      readonly facts: DelegationFacts;
      /** `authority`: Entra renews it no more. */
      readonly by: "user" | "administrator" | "authority";
      readonly reason?: string | undefined;
    };
