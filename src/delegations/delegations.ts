/** Delegations: a user's leave, kept as a refresh token that only a handle and a listed job together can use. */

import { GatewayError } from "../errors.ts";
import type { DelegatedSubject, Renewal, RenewedGrant } from "../exchange/contract.ts";
import { ownerOf } from "../foundation/budget.ts";
import { Secret } from "../foundation/secret.ts";
import type { Principal, VerifiedCaller } from "../identity/contract.ts";
import type {
  DelegationFacts,
  Delegations,
  DelegationsOptions,
  ResumedDelegation,
  ResumeRefusal,
} from "./contract.ts";
import {
  createRecords,
  type DelegationContent,
  type DelegationRecord,
  type DelegationRecords,
  type Full,
  idOf,
  isHandle,
  makeHandle,
} from "./records.ts";

const DAY_MS = 24 * 3_600_000;
/** Readings of a record whose refresh tokens other processes replace meanwhile; each of them has a newer one. */
const MOST_READINGS = 3;

/**
 * Two parties act: a handle alone is worth nothing, and neither is a listed client's token. Redis is asked for each use,
 * so that a delegation that was ended serves no further request of any replica; where Redis does not answer, a job
 * waits, and the delegation stays.
 */
export function createDelegations(options: DelegationsOptions): Delegations {
  const { rules, exchange, scopes, now, onEvent } = options;
  const records = createRecords({ ...options, ...rules, ...options.redis });
  const renewalOf = createRenewals(records, onEvent);
  const clients = rules.clients.map((client) => client.toLowerCase());
  const maxMs = rules.maxDays * DAY_MS;

  /** An operator who lowers `maxDays` or takes a client away means the delegations that are there, too. */
  function refusalOf(record: DelegationRecord | null, job: Principal): ResumeRefusal | undefined {
    if (record === null) return "unknown";
    const { content } = record;
    if (content.user.tenantId !== job.tenantId) return "tenant";
    if (!content.clients.includes(job.clientId.toLowerCase())) return "client";
    return now() >= endOf(content) ? "expired" : undefined;
  }

  const endOf = ({ createdAt, expiresAt }: Pick<DelegationContent, "createdAt" | "expiresAt">) =>
    Math.min(expiresAt, createdAt + maxMs);

  function resumed(
    handle: Secret,
    record: DelegationRecord,
    job: Principal,
    facts: DelegationFacts,
  ): ResumedDelegation {
    const { id, content } = record;
    const { tenantId, objectId } = content.user;
    const expiresAt = endOf(content);
    const assertion: DelegatedSubject = {
      token: handle,
      digest: id,
      tenantId,
      objectId,
      expiresAt,
      renewal: renewalOf(handle, record, facts),
    };
    const principal: Principal = Object.freeze({
      ...content.user,
      kind: "user",
      clientId: job.clientId,
      // Unknown today, which must never read as "none"; and no step-up of the user's lasts until a job runs.
      groups: Object.freeze({ kind: "overage" }),
      authContexts: Object.freeze([]),
      // A job has no user to send to a sign-in, so a challenge would be a mystery to it.
      acceptsClaimsChallenge: false,
      expiresAt,
    });
    const caller: VerifiedCaller = { principal, assertion, owner: ownerOf(principal) };
    return { id, caller, demanded: (error) => demanded(error, facts, onEvent) };
  }

  return {
    async keep({ caller, correlationId, signal }) {
      const { principal, assertion } = caller;
      if (principal.kind !== "user" || "renewal" in assertion) throw userRequired();
      const { tenantId, objectId, subject, clientId, tokenVersion, scopes: held, roles } = principal;
      const user = { tenantId, objectId, subject, clientId, tokenVersion, scopes: held, roles };
      // Before Entra is asked, since a user past the bound may come as often as limits allow.
      assertRoom(await records.full(user));
      const refreshToken = await exchange.grantOffline({
        assertion,
        scopes,
        correlationId,
        clientId,
        ...(signal !== undefined && { signal }),
      });
      const handle = makeHandle();
      const createdAt = now();
      const life = { createdAt, expiresAt: createdAt + maxMs, clients };
      assertRoom(await records.create(handle, { user, ...life, refreshTokens: [refreshToken] }));
      const id = idOf(handle);
      const facts = { correlationId, id, tenantId, objectId, clientId };
      onEvent({ type: "created", facts, expiresAt: life.expiresAt });
      return { id, handle: handle.reveal(), ...life };
    },

    async resume({ handle: text, job, correlationId, route }) {
      assertJob(job, clients);
      if (!isHandle(text)) throw malformedHandle();
      const handle = new Secret(text);
      const record = await records.open(handle);
      if (record === undefined) throw unavailable();
      const { tenantId, clientId } = job;
      const asked = { correlationId, id: idOf(handle), tenantId, clientId, route };
      const reason = refusalOf(record, job);
      if (record === null || reason !== undefined) {
        onEvent({ type: "refused", facts: asked, reason: reason ?? "unknown" });
        throw ended(reason);
      }
      const facts = { ...asked, objectId: record.content.user.objectId };
      onEvent({ type: "used", facts });
      return resumed(handle, record, job, facts);
    },

    async list(user) {
      const listed = await records.list(user);
      if (listed === undefined) throw unavailable();
      return listed
        .map((one) => ({ ...one, expiresAt: endOf(one) }))
        .filter(({ expiresAt }) => expiresAt > now());
    },

    async end({ id, by, correlationId }) {
      const described = await records.describe(id);
      if (described === undefined) throw unavailable();
      if (described === null) return false;
      const { tenantId, objectId, clientId, kind } = by;
      const isOwn = kind === "user" && described.isOf(by);
      const isAdministrator =
        rules.adminRole !== undefined && by.roles.includes(rules.adminRole) && described.isIn(tenantId);
      if (!isOwn && !isAdministrator) return false;
      if ((await records.remove(described)) === undefined) throw unavailable();
      const facts = { correlationId, id, tenantId, clientId, ...(isOwn && { objectId }) };
      onEvent({ type: "ended", facts, by: isOwn ? "user" : "administrator" });
      return true;
    },
  };
}

/** Redeems the refresh tokens of a record, and keeps those that Entra gives for them. */
function createRenewals(records: DelegationRecords, onEvent: DelegationsOptions["onEvent"]) {
  /** Keeps the refresh token that Entra returned, with the one that was redeemed for it. */
  async function rotate(
    handle: Secret,
    record: DelegationRecord,
    redeemed: Secret,
    next: Secret | undefined,
  ): Promise<void> {
    if (next === undefined || next.reveal() === redeemed.reveal()) return;
    const outcome = await records.replace(handle, record, {
      ...record.content,
      refreshTokens: [next, redeemed],
    });
    // Ended while Entra was asked: the token that Entra gave is not to be used any more.
    if (outcome === "gone") throw ended("gone");
    // `lost`: another process was first, and has a token that is as new.
    if (outcome !== "lost") onEvent({ type: outcome === "kept" ? "renewed" : "renewal_lost" });
  }

  return (handle: Secret, first: DelegationRecord, facts: DelegationFacts): Renewal => {
    async function redeemAny<Granted extends RenewedGrant>(
      record: DelegationRecord,
      redeem: (refreshToken: Secret) => Promise<Granted>,
    ): Promise<Granted | GatewayError> {
      let refusal = ended("no_refresh_token");
      for (const refreshToken of record.content.refreshTokens) {
        let granted: Granted;
        try {
          granted = await redeem(refreshToken);
        } catch (error) {
          if (!(error instanceof GatewayError) || error.code !== "delegation_ended") throw error;
          refusal = error;
          continue;
        }
        await rotate(handle, record, refreshToken, granted.refreshToken);
        return granted;
      }
      return refusal;
    }

    return {
      async renew(redeem) {
        let record = first;
        for (let reading = 1; ; reading += 1) {
          const outcome = await redeemAny(record, redeem);
          if (!(outcome instanceof GatewayError)) return outcome;
          // Entra ended the tokens that this process knows; another process may have kept newer ones meanwhile.
          const removed = await records.removeIf(record);
          if (removed === true) onEvent({ type: "ended", facts, by: "authority", reason: outcome.reason });
          if (removed === true) throw outcome;
          const latest = await records.open(handle);
          if (removed === undefined || latest === undefined || reading === MOST_READINGS)
            throw unavailable(outcome);
          if (latest === null) throw outcome;
          record = latest;
        }
      },
    };
  };
}

/** What the user can do, for a job to pass on. The claims, or the address, stand in the problem beside it. */
const DEMANDS: Partial<Readonly<Record<string, string>>> = {
  claims_challenged: "The user has to sign in with these claims and delegate anew; a job cannot meet them.",
  interaction_required: "The user has to sign in, with the claims if there are some, and delegate anew.",
  consent_required: "The user has to consent, at this address; the delegation goes on after that.",
  admin_consent_required:
    "An administrator has to consent, at this address; the delegation goes on after that.",
};

/** What Entra or an API wants of the user, in words for the job that acts for the user. */
function demanded(error: unknown, facts: DelegationFacts, onEvent: DelegationsOptions["onEvent"]): unknown {
  if (!(error instanceof GatewayError)) return error;
  // The handle stands in the place of the user's token, and no other token of the job's would do.
  if (error.code === "token_rejected") return ended(error.reason, error);
  if (error.actor !== "user") return error;
  const { code, claims, consentUri, reason, diagnostics } = error;
  onEvent({ type: "user_needed", facts, code, claims, consentUri });
  return new GatewayError(code, {
    detail: DEMANDS[code] ?? error.detail,
    cause: error,
    ...(claims !== undefined && { claims }),
    ...(consentUri !== undefined && { consentUri }),
    ...(reason !== undefined && { reason }),
    ...(diagnostics !== undefined && { diagnostics }),
  });
}

/** @throws {GatewayError} unless there is room. */
function assertRoom(full: Full | "none" | undefined): void {
  if (full === undefined) throw unavailable();
  if (full === "none") return;
  throw new GatewayError("rate_limited", {
    detail:
      full === "user"
        ? "This user has as many delegations as one may have; end one of them first."
        : "The users of this client have as many delegations as they may have.",
    reason: `delegations_of_${full}`,
    retryAfterSeconds: 60,
  });
}

/** Decided before any handle is looked at, so that other callers learn nothing of handles. */
function assertJob({ kind, clientId }: Principal, clients: readonly string[]): void {
  if (kind !== "app")
    throw new GatewayError("scope_insufficient", {
      detail: "A delegation goes with the token of an application, not with that of a user.",
      reason: "delegation_kind",
    });
  if (!clients.includes(clientId.toLowerCase()))
    throw new GatewayError("scope_insufficient", {
      detail: "The calling application may not use delegations.",
      reason: "delegation_client",
    });
}

export function malformedHandle(): GatewayError<"request_malformed"> {
  return new GatewayError("request_malformed", {
    detail: "A request that a job sends for a user has one Delegation field, with one handle.",
    reason: "delegation",
  });
}

function userRequired(): GatewayError<"user_token_required"> {
  return new GatewayError("user_token_required", {
    detail: "A user delegates with the user's token; an application, or a job that acts for a user, cannot.",
  });
}

function ended(reason: string | undefined, cause?: unknown): GatewayError<"delegation_ended"> {
  return new GatewayError("delegation_ended", {
    detail: "The delegation has ended, or never served this caller; the user has to delegate anew.",
    ...(reason !== undefined && { reason }),
    ...(cause !== undefined && { cause }),
  });
}

/** Precedent of the audit stream: what cannot be recorded or looked up is refused for the moment, and not for good. */
function unavailable(cause?: unknown): GatewayError<"overloaded"> {
  return new GatewayError("overloaded", {
    detail: "The gateway cannot look delegations up at the moment.",
    reason: "delegations_unavailable",
    retryAfterSeconds: 2,
    ...(cause !== undefined && { cause }),
  });
}
