/** The client-credentials grant: an application's own token, for the API that `.default` names. */

import type { AuthenticatedClient } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import type { Policies } from "./policies.ts";
import { EntraRefusal } from "./refusal.ts";
import { parseScopes } from "./scopes.ts";
import { principalIdOf } from "./seed.ts";
import { audienceOf, type TokenAnswers } from "./token-answer.ts";
import { requestedClaims, requestedScopes, type TokenForm } from "./token-request.ts";

export function createClientCredentialsGrant(parts: {
  readonly directory: Directory;
  readonly policies: Policies;
  readonly answers: TokenAnswers;
}): (form: TokenForm, client: AuthenticatedClient, tenantId: string) => Record<string, unknown> {
  const { directory, policies, answers } = parts;

  return (form, { application, authentication }, tenantId) => {
    const scopes = requestedScopes(form);
    policies.check({
      grant: "client-credentials",
      tenantId,
      clientId: application.clientId,
      scopes,
      requested: requestedClaims(form),
    });
    const wanted = parseScopes(scopes, directory, tenantId);
    if (wanted.names[0] !== ".default") throw new EntraRefusal(70011, "client credentials need .default");
    return answers.forApplication({
      cloud: form.cloud,
      tenant: { id: tenantId },
      resource: wanted.resource,
      audience: audienceOf(wanted),
      version: wanted.resource.accessTokenVersion,
      clientId: application.clientId,
      clientAuthentication: authentication,
      principalId: principalIdOf(application.clientId),
      scopes: [],
    });
  };
}
