/** The refresh grant: new tokens without the user, until time, revocation or a policy ends it. */

import type { Sessions } from "../sessions.ts";
import type { AuthenticatedClient, ClientAuthentication } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import type { Policies } from "./policies.ts";
import type { RefreshGrant, RefreshTokens } from "./refresh-tokens.ts";
import { EntraRefusal } from "./refusal.ts";
import { checkResourceParameter, parseSignInScopes } from "./scopes.ts";
import { signInClaims } from "./sign-in.ts";
import type { TokenAnswers } from "./token-answer.ts";
import {
  isCrossOrigin,
  requestedClaims,
  requestedScopes,
  required,
  type TokenForm,
} from "./token-request.ts";
import { checkAccount } from "./user-account.ts";

/** A refresh that names no scope is answered for Graph, and not for the API that the first token was for (reported). */
const WITHOUT_SCOPE = ["openid", "profile", "offline_access"];

export function createRefreshTokenGrant(parts: {
  readonly directory: Directory;
  readonly policies: Policies;
  readonly sessions: Sessions;
  readonly clientAuthentication: ClientAuthentication;
  readonly refreshTokens: RefreshTokens;
  readonly answers: TokenAnswers;
}): (form: TokenForm, tenantId: string | undefined) => Promise<Record<string, unknown>> {
  const { directory, policies, clientAuthentication, refreshTokens, answers } = parts;

  return async (form, tenantId) => {
    const application = clientAuthentication.identify(form, tenantId);
    const token = required(form, "refresh_token");
    const grant = refreshTokens.redeem(token, application.clientId);
    const { signIn } = grant;
    if (tenantId !== undefined && tenantId !== signIn.tenantId) {
      throw new EntraRefusal(70000, "the refresh token was issued in another tenant");
    }
    const client = await authenticated(form, grant);
    const user = checkAccount(directory, signIn);
    if (policies.isTooOld(signIn)) throw new EntraRefusal(70043);

    const asked = requestedScopes(form);
    const scopes = asked.length === 0 ? WITHOUT_SCOPE : asked;
    const requested = requestedClaims(form);
    checkResourceParameter(form.parameters.get("resource"), scopes, directory);
    policies.check({
      grant: "refresh-token",
      tenantId: signIn.tenantId,
      clientId: application.clientId,
      scopes,
      user,
      claims: signInClaims(signIn),
      isExchange: grant.origin === "on-behalf-of",
      requested,
    });
    const [wanted] = parseSignInScopes(scopes, application, directory, signIn.tenantId);
    return answers.forUser({
      form,
      client,
      signIn,
      wanted,
      // Each use gives a new refresh token, asked for or not.
      scopes: [...new Set([...scopes, "offline_access"])],
      requested,
      refresh: grant,
    });
  };

  async function authenticated(form: TokenForm, grant: RefreshGrant): Promise<AuthenticatedClient> {
    const { tenantId } = grant.signIn;
    const isSinglePage = grant.client === "single-page";
    if (isCrossOrigin(form) && !isSinglePage) throw new EntraRefusal(9002326, `origin ${form.origin}`);
    if (!isCrossOrigin(form) && isSinglePage) throw new EntraRefusal(9002327);
    return grant.client === "confidential"
      ? clientAuthentication.authenticate(form, tenantId)
      : clientAuthentication.asPublic(form, tenantId);
  }
}
