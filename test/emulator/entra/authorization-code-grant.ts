/** The authorization-code grant: a client redeems the code that its user's browser brought (RFC 6749 §4.1.3, RFC 7636). */

import { createHash } from "node:crypto";
import type { Sessions } from "../sessions.ts";
import type { AuthorizationCodes, CodeGrant } from "./authorization-codes.ts";
import type { AuthenticatedClient, ClientAuthentication } from "./client-authentication.ts";
import type { Directory } from "./directory.ts";
import type { Policies } from "./policies.ts";
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

export function createAuthorizationCodeGrant(parts: {
  readonly directory: Directory;
  readonly policies: Policies;
  readonly sessions: Sessions;
  readonly clientAuthentication: ClientAuthentication;
  readonly codes: AuthorizationCodes;
  readonly answers: TokenAnswers;
}): (form: TokenForm, tenantId: string | undefined) => Promise<Record<string, unknown>> {
  const { directory, policies, sessions, clientAuthentication, codes, answers } = parts;

  return async (form, tenantId) => {
    const application = clientAuthentication.identify(form, tenantId);
    const grant = codes.redeem(required(form, "code"), application.clientId);
    if (tenantId !== undefined && tenantId !== grant.tenantId) {
      throw new EntraRefusal(70000, "the code was issued in another tenant");
    }
    if ((form.parameters.get("redirect_uri") ?? grant.redirect.uri) !== grant.redirect.uri) {
      throw new EntraRefusal(500112);
    }
    const client = await authenticated(form, grant);
    checkVerifier(grant, form.parameters.get("code_verifier"));

    const { signIn } = grant;
    const user = checkAccount(directory, signIn);
    if (sessions.isRevoked({ oid: user.objectId, uti: signIn.id })) throw new EntraRefusal(50173);
    const asked = requestedScopes(form);
    const scopes = asked.length === 0 ? grant.scopes : asked;
    const requested = { ...grant.requested, ...requestedClaims(form) };
    checkResourceParameter(form.parameters.get("resource"), scopes, directory);
    policies.check({
      grant: "authorization-code",
      tenantId: grant.tenantId,
      clientId: application.clientId,
      scopes,
      user,
      claims: signInClaims(signIn),
      requested,
    });
    const [wanted] = parseSignInScopes(scopes, application, directory, grant.tenantId);
    return answers.forUser({
      form,
      client,
      signIn,
      wanted,
      // A refresh token that was asked for at sign-in is given, also when the redeeming request names fewer scopes.
      scopes: [...new Set([...scopes, ...grant.scopes.filter((scope) => !scope.includes("/"))])],
      requested,
      idTokenClaims: {
        ...(grant.nonce === undefined ? {} : { nonce: grant.nonce }),
        ...(grant.tellsAuthTime ? { auth_time: signIn.at } : {}),
      },
      refresh: { origin: "sign-in", client: CLIENT_KINDS[grant.redirect.type] },
    });
  };

  /** What the redirect URI was registered as decides how the client proves itself. */
  async function authenticated(form: TokenForm, grant: CodeGrant): Promise<AuthenticatedClient> {
    const { type } = grant.redirect;
    if (isCrossOrigin(form) && type !== "spa") throw new EntraRefusal(9002326, `origin ${form.origin}`);
    if (!isCrossOrigin(form) && type === "spa") throw new EntraRefusal(9002327);
    return type === "web"
      ? clientAuthentication.authenticate(form, grant.tenantId)
      : clientAuthentication.asPublic(form, grant.tenantId);
  }
}

const CLIENT_KINDS = { spa: "single-page", web: "confidential", public: "public" } as const;

/** RFC 7636 §4.6. */
function checkVerifier({ challenge }: CodeGrant, verifier: string | undefined): void {
  if (challenge === undefined) return;
  if (verifier === undefined || verifier === "") throw new EntraRefusal(50148);
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier)) throw new EntraRefusal(501491);
  const shown =
    challenge.method === "S256" ? createHash("sha256").update(verifier).digest("base64url") : verifier;
  if (shown !== challenge.value) throw new EntraRefusal(501481);
}
