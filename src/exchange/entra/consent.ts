/** Where a user or an administrator can grant what an exchange found missing. */

export interface ConsentOptions {
  /**
   * Application (client) id of the front end, when the gateway's registration lists it in
   * `knownClientApplications`: then one prompt covers both (Entra, v2-oauth2-on-behalf-of-flow). Without it the
   * user consents to the gateway itself.
   */
  readonly frontEndClientId?: string | undefined;
  /** App ID URI of the gateway. */
  readonly appIdUri: string;
  /** Registered redirect URI of the application that is consented to; without it Entra takes the one registered. */
  readonly redirectUri?: string | undefined;
}

export interface ConsentFacts {
  readonly clientId: string;
  readonly authorityHost: string;
  readonly authorizeEndpoint: (tenantId: string) => string;
  readonly consent?: ConsentOptions;
}

export interface ConsentUris {
  /** A sign-in that asks the user for consent. */
  consentUri(tenantId: string, scopes: readonly string[]): string;
  /** Entra's administrator page for the whole tenant (Entra, v2-admin-consent). */
  adminConsentUri(tenantId: string, scopes: readonly string[]): string;
}

export function createConsentUris(facts: ConsentFacts): ConsentUris {
  const { clientId, authorityHost, authorizeEndpoint, consent } = facts;
  const redirect: Record<string, string> =
    consent?.redirectUri === undefined ? {} : { redirect_uri: consent.redirectUri };

  return {
    consentUri: (tenantId, scopes) =>
      withQuery(authorizeEndpoint(tenantId), {
        client_id: consent?.frontEndClientId ?? clientId,
        response_type: "code",
        scope: consent?.frontEndClientId === undefined ? scopes.join(" ") : `${consent.appIdUri}/.default`,
        prompt: "consent",
        ...redirect,
      }),
    // The permission that lacks is the gateway's own, whichever front end was used.
    adminConsentUri: (tenantId, scopes) =>
      withQuery(`${authorityHost}${tenantId}/v2.0/adminconsent`, {
        client_id: clientId,
        scope: scopes.join(" "),
        ...redirect,
      }),
  };
}

function withQuery(endpoint: string, parameters: Readonly<Record<string, string>>): string {
  const uri = new URL(endpoint);
  for (const [name, value] of Object.entries(parameters)) uri.searchParams.set(name, value);
  return uri.href;
}
