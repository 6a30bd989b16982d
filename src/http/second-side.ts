/** A side of the gateway beside the public one: what each request of it meets, what it may ask for, and how it is decided. */

import { createAdmission } from "./admission.ts";
import type { OpenSecondSide } from "./contract.ts";
import { createDecisions, type DecisionOptions } from "./decision.ts";
import { actorOf, applicationActor, callerOf, obtainWith, recallToken, recordOf } from "./pipeline.ts";
import { createPlainSide, inOrder, type PlainSideOptions } from "./plain-side.ts";

export type SecondSideOptions = DecisionOptions & Omit<PlainSideOptions, "own" | "adapt">;

/** Opens sides that share routes, limits and ports with the public side of the same configuration. */
export function secondSides(options: SecondSideOptions): OpenSecondSide {
  const { clientId, exchange } = options;
  const admit = createAdmission(options);
  return ({ own, adapt }) => ({
    // Callers of a proxy that asks sign in at the same endpoints: the same bridge, whose notes are of both ways.
    ...createPlainSide({ ...options, own, adapt }),
    admitting({ token, ...route }, proceed) {
      return inOrder(
        admit(
          { ...route, ...(token !== undefined && { credentials: () => [`Bearer ${token}`] }) },
          (request, response) => {
            const record = recordOf(request);
            return proceed(request, response, record, callerOf(record)) as void | Promise<void>;
          },
        ),
      );
    },
    deciding: (grant) => createDecisions(options, grant),
    tokensFor(record, { as, scopes }) {
      const actor = as === "user" ? actorOf("user", clientId) : applicationActor(as.tenantId, clientId);
      const source = { actor, scopes, exchange };
      const assertion = actor.assertionOf(record);
      return {
        subject: assertion,
        recall: () => recallToken(record, source),
        obtain: (challenge) => obtainWith(record, source)(challenge),
        forget: (refused) =>
          exchange.forget({ assertion, scopes, ...(refused !== undefined && { refused }) }),
      };
    },
  });
}
