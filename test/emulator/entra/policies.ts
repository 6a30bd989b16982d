/** What an administrator decided besides consent: refusals on demand, multi-factor and authentication contexts. */

import { randomUUID } from "node:crypto";
import type { GrantName, MfaRequirement, RefusalOptions, Removable, User, UserRef } from "../handle.ts";
import type { Claims } from "../jws.ts";
import type { Directory } from "./directory.ts";
import { errorRow } from "./errors.ts";
import { requestedValues } from "./mint.ts";
import { EntraRefusal } from "./refusal.ts";
import type { SignIn } from "./sign-in.ts";

export interface PolicySubject {
  readonly grant: GrantName | "authorize";
  readonly tenantId: string;
  readonly clientId: string;
  readonly scopes: readonly string[];
  readonly user?: User;
  /** Of the user assertion, or what the sign-in behind the grant amounts to. */
  readonly claims?: Claims;
  /** Whether an API behind the middle tier is asked for, whose policies are stricter. Default: by the grant. */
  readonly isExchange?: boolean;
  /** `access_token` member of the claims request. */
  readonly requested: Claims;
}

export interface Policies {
  refuse(options: RefusalOptions): Removable;
  clear(): void;
  requireMfa(user: UserRef, requirement?: MfaRequirement): Removable;
  requireSignInFrequency(user: UserRef, seconds: number): Removable;
  /** @throws {EntraRefusal} */
  check(subject: PolicySubject): void;
  /** The refusals on demand alone. @throws {EntraRefusal} */
  checkRefusals(subject: PolicySubject): void;
  /** What this sign-in still lacks, in the form of a claims request; undefined: nothing. */
  lacking(subject: PolicySubject): Lacking | undefined;
  /** Whether a sign-in frequency policy does not accept this sign-in any more. */
  isTooOld(signIn: SignIn): boolean;
}

export interface Lacking {
  /** JSON text. */
  readonly claims: string;
  /** Contexts that a second factor now would satisfy. */
  readonly contexts: readonly string[];
  readonly spelling?: MfaRequirement["spelling"];
}

export function createPolicies(directory: Directory, now: () => number): Policies {
  const refusals = new Set<{ readonly options: RefusalOptions; left: number }>();
  const requirements = new Set<{
    readonly user: User;
    readonly requirement: MfaRequirement;
    readonly policy: string;
  }>();

  const frequencies = new Set<{ readonly user: User; readonly seconds: number }>();

  const checkRefusals = (subject: PolicySubject) => {
    for (const refusal of refusals) {
      const { options } = refusal;
      if (!applies(options, subject, directory)) continue;
      refusal.left -= 1;
      if (refusal.left === 0) refusals.delete(refusal);
      const { claims, ...wording } = options;
      throw new EntraRefusal(options.code, {
        ...wording,
        ...(claims === undefined ? {} : { claims: claims === true ? policyClaims(randomUUID()) : claims }),
      });
    }
  };

  const lacking = (subject: PolicySubject): Lacking | undefined => {
    const { user, claims, requested, grant } = subject;
    if (user === undefined || claims === undefined) return undefined;
    const isExchange = subject.isExchange ?? grant === "on-behalf-of";
    for (const { user: whom, requirement, policy } of requirements) {
      if (whom.objectId !== user.objectId || !(isExchange || requirement.atSignIn === true)) continue;
      const { authContext, spelling = "own-error" } = requirement;
      const satisfied =
        authContext === undefined ? holds(claims.amr, "mfa") : holds(claims.acrs, authContext);
      if (satisfied) continue;
      return authContext === undefined
        ? { claims: policyClaims(policy), contexts: [], spelling }
        : { claims: contextClaims(authContext), contexts: [authContext], spelling };
    }
    // A client that passes a challenge on asks for a context that the user's sign-in must already have.
    const missing = requestedValues(requested.acrs).filter((context) => !holds(claims.acrs, context));
    const [first] = missing;
    if (first !== undefined) return { claims: contextClaims(first), contexts: missing };
    // A challenge of a policy behind an exchange names it; only a sign-in can answer that.
    const policies = requestedValues(requested.capolids ?? requested.polids);
    const [named] = policies;
    if (!isExchange && named !== undefined && !holds(claims.amr, "mfa")) {
      return { claims: policyClaims(named), contexts: [] };
    }
    return undefined;
  };

  return {
    refuse(options) {
      if (errorRow(options.code) === undefined && options.error === undefined) {
        throw new Error(`the emulator has no row for AADSTS${options.code}; name its 'error' as well`);
      }
      const refusal = { options, left: options.times ?? Number.POSITIVE_INFINITY };
      refusals.add(refusal);
      return { remove: () => void refusals.delete(refusal) };
    },
    clear() {
      refusals.clear();
      requirements.clear();
      frequencies.clear();
    },
    requireMfa(ref, requirement = {}) {
      const entry = { user: directory.user(ref), requirement, policy: randomUUID() };
      requirements.add(entry);
      return { remove: () => void requirements.delete(entry) };
    },
    requireSignInFrequency(ref, seconds) {
      const entry = { user: directory.user(ref), seconds };
      frequencies.add(entry);
      return { remove: () => void frequencies.delete(entry) };
    },
    check(subject) {
      checkRefusals(subject);
      const lack = lacking(subject);
      if (lack === undefined) return;
      const { claims, spelling } = lack;
      throw new EntraRefusal(50076, { claims, ...(spelling === undefined ? {} : { spelling }) });
    },
    checkRefusals,
    lacking,
    isTooOld: ({ userObjectId, at }) =>
      [...frequencies].some(
        ({ user, seconds }) => user.objectId === userObjectId && now() / 1000 - at >= seconds,
      ),
  };
}

function applies(options: RefusalOptions, subject: PolicySubject, directory: Directory): boolean {
  return (
    (options.user === undefined || directory.user(options.user).objectId === subject.user?.objectId) &&
    (options.tenantId === undefined || options.tenantId.toLowerCase() === subject.tenantId) &&
    (options.clientId === undefined || options.clientId.toLowerCase() === subject.clientId) &&
    (options.scope === undefined || subject.scopes.includes(options.scope)) &&
    (options.grant === undefined ? subject.grant !== "authorize" : options.grant === subject.grant)
  );
}

function holds(claim: unknown, value: string): boolean {
  return [claim].flat().includes(value);
}

function contextClaims(context: string): string {
  return JSON.stringify({ access_token: { acrs: { essential: true, value: context } } });
}

function policyClaims(policyId: string): string {
  return JSON.stringify({ access_token: { capolids: { essential: true, values: [policyId] } } });
}
