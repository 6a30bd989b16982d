/** The on-behalf-of grant: a middle tier exchanges its caller's token for one to an API behind it. */

import type { Sessions } from "../sessions.ts";
import type { AuthenticatedClient } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import type { Policies } from "./policies.ts";
import { EntraRefusal } from "./refusal.ts";
import { parseScopes } from "./scopes.ts";
import { signInOfAssertion } from "./sign-in.ts";
import type { TokenAnswers } from "./token-answer.ts";
import { requestedClaims, requestedScopes, required, type TokenForm } from "./token-request.ts";
import type { UserAssertionVerifier } from "./user-assertion.ts";

export function createOnBehalfOfGrant(parts: {
  readonly directory: Directory;
  readonly policies: Policies;
  readonly userAssertions: UserAssertionVerifier;
  readonly sessions: Sessions;
  readonly answers: TokenAnswers;
}): (form: TokenForm, client: AuthenticatedClient, tenantId: string) => Record<string, unknown> {
  const { directory, policies, userAssertions, sessions, answers } = parts;

  return (form, client, tenantId) => {
    if (required(form, "requested_token_use") !== "on_behalf_of") {
      throw new EntraRefusal(900144, "'requested_token_use'");
    }
    const { application } = client;
    const verified = userAssertions.verify(required(form, "assertion"), application, tenantId, form.cloud);
    const scopes = requestedScopes(form);
    const requested = requestedClaims(form);
    policies.check({
      grant: "on-behalf-of",
      tenantId,
      clientId: application.clientId,
      scopes,
      ...verified,
      requested,
    });
    return answers.forUser({
      form,
      client,
      signIn: signInOfAssertion(verified.user, verified.claims, sessions),
      wanted: parseScopes(scopes, directory, tenantId),
      scopes,
      requested,
      refresh: { origin: "on-behalf-of", client: "confidential" },
    });
  };
}
