/** What an administrator decided besides consent: refusals on demand, multi-factor and authentication contexts. */

import { randomUUID } from "node:crypto";
import type { MfaRequirement, RefusalOptions, Removable, User, UserRef } from "../handle.ts";
import type { Claims } from "../jws.ts";
import type { Directory } from "./directory.ts";
import { requestedValues } from "./mint.ts";
import { EntraRefusal } from "./refusal.ts";

export interface PolicySubject {
  readonly grant: "on-behalf-of" | "client-credentials";
  readonly tenantId: string;
  readonly clientId: string;
  readonly scopes: readonly string[];
  readonly user?: User;
  /** Of the user assertion. */
  readonly claims?: Claims;
  /** `access_token` member of the claims request. */
  readonly requested: Claims;
}

export interface Policies {
  refuse(options: RefusalOptions): Removable;
  clear(): void;
  requireMfa(user: UserRef, requirement?: MfaRequirement): Removable;
  /** @throws {EntraRefusal} */
  check(subject: PolicySubject): void;
}

export function createPolicies(directory: Directory): Policies {
  const refusals = new Set<{ readonly options: RefusalOptions; left: number }>();
  const requirements = new Set<{
    readonly user: User;
    readonly requirement: MfaRequirement;
    readonly policy: string;
  }>();

  const refuseIfTold = (subject: PolicySubject) => {
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

  return {
    refuse(options) {
      const refusal = { options, left: options.times ?? Number.POSITIVE_INFINITY };
      refusals.add(refusal);
      return { remove: () => void refusals.delete(refusal) };
    },
    clear() {
      refusals.clear();
      requirements.clear();
    },
    requireMfa(ref, requirement = {}) {
      const entry = { user: directory.user(ref), requirement, policy: randomUUID() };
      requirements.add(entry);
      return { remove: () => void requirements.delete(entry) };
    },
    check(subject) {
      refuseIfTold(subject);
      const { user, claims } = subject;
      if (user === undefined || claims === undefined) return;
      for (const { user: whom, requirement, policy } of requirements) {
        if (whom.objectId !== user.objectId) continue;
        const { authContext, spelling = "own-error" } = requirement;
        const satisfied =
          authContext === undefined ? holds(claims.amr, "mfa") : holds(claims.acrs, authContext);
        if (satisfied) continue;
        const wanted = authContext === undefined ? policyClaims(policy) : contextClaims(authContext);
        throw new EntraRefusal(50076, { claims: wanted, spelling });
      }
      // A client that passes a challenge on asks for a context that the user's sign-in must already have.
      const missing = requestedValues(subject.requested.acrs).find((context) => !holds(claims.acrs, context));
      if (missing !== undefined) throw new EntraRefusal(50076, { claims: contextClaims(missing) });
    },
  };
}

function applies(options: RefusalOptions, subject: PolicySubject, directory: Directory): boolean {
  return (
    (options.user === undefined || directory.user(options.user).objectId === subject.user?.objectId) &&
    (options.tenantId === undefined || options.tenantId.toLowerCase() === subject.tenantId) &&
    (options.clientId === undefined || options.clientId.toLowerCase() === subject.clientId) &&
    (options.scope === undefined || subject.scopes.includes(options.scope)) &&
    (options.grant === undefined || options.grant === subject.grant)
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
