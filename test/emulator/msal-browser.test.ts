/** Microsoft's library for pages signs in unmodified, on the redirect path: its own requests, a small fake for the window. */

import {
  type AuthenticationResult,
  CacheLookupPolicy,
  type Configuration,
  InteractionRequiredAuthError,
  PublicClientApplication,
} from "@azure/msal-browser";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createFakePage, type FakePage } from "./fake-page.ts";
import { decodeJws } from "./jws.ts";
import type { Journey, Person, PersonOptions } from "./person.ts";
import { gatewayScope, PAGE, personAt } from "./sign-in-requests.ts";
import { type Client, startClient } from "./support.ts";

let client: Client;
let page: FakePage;
let person: Person;
let scopes: string[];
beforeAll(async () => {
  // MSAL compares lifetimes with the machine's clock.
  client = await startClient({ now: Date.now });
  page = createFakePage(client, PAGE);
  person = personAt(client);
  scopes = [gatewayScope(client.emulator)];
});
afterAll(async () => {
  page.remove();
  await client.close();
});

/** As the page is loaded anew: the library finds everything in the storage, or in the address. */
async function loadPage(): Promise<PublicClientApplication> {
  const { authorityHost, tenantId, frontEndClientId } = client.emulator;
  const configuration: Configuration = {
    auth: {
      clientId: frontEndClientId,
      authority: `${authorityHost}${tenantId}`,
      knownAuthorities: [new URL(authorityHost).host],
      redirectUri: PAGE,
      clientCapabilities: ["cp1"],
    },
    cache: { cacheLocation: "sessionStorage" },
    system: { navigationClient: page.navigationClient as never },
  };
  const application = new PublicClientApplication(configuration);
  await application.initialize();
  return application;
}

/** A page that navigates away never sees its promise fulfilled; a fault before that is the test's. */
async function leftBy(
  application: PublicClientApplication,
  leave: (application: PublicClientApplication) => Promise<unknown>,
): Promise<string> {
  const failed = leave(application).then(() => new Promise<never>(() => {}));
  return await Promise.race([page.leftFor(), failed]);
}

/** Leaves the page, lets the person pass the authority's pages, and loads the page at the address she came back to. */
async function throughAuthority(
  leave: (application: PublicClientApplication) => Promise<unknown>,
  options: PersonOptions,
): Promise<{
  readonly journey: Journey;
  readonly returned: () => Promise<AuthenticationResult | null>;
  readonly application: PublicClientApplication;
}> {
  const url = await leftBy(await loadPage(), leave);
  const journey = await person.signIn(url, options);
  if (journey.location === undefined) throw new Error("the person did not come back");
  page.arriveAt(journey.location);
  const application = await loadPage();
  return { journey, application, returned: () => application.handleRedirectPromise() };
}

describe("MSAL for browsers", () => {
  test("signs a user in with PKCE and client_info, and holds her account and a token for the gateway", async () => {
    const { returned, journey } = await throughAuthority(
      (application) => application.loginRedirect({ scopes, loginHint: "ada@home.example" }),
      { user: "ada" },
    );
    expect(journey.answer).toMatchObject({ client_info: expect.any(String), state: expect.any(String) });
    const result = await returned();
    expect(result).toMatchObject({
      tenantId: client.emulator.tenantId,
      uniqueId: client.emulator.users.ada.objectId,
      account: { username: "ada@home.example" },
      fromCache: false,
      scopes,
    });
    expect(decodeJws(result?.accessToken ?? "")?.payload).toMatchObject({
      aud: client.emulator.clientId,
      xms_cc: ["CP1"],
    });
    expect(client.emulator.requests.authorize[0]).toMatchObject({
      challengeMethod: "S256",
      loginHint: "ada@home.example",
      scopes: expect.arrayContaining(["openid", "profile", "offline_access", ...scopes]),
    });
    expect(client.emulator.requests.token.at(-1)).toMatchObject({
      grantType: "authorization_code",
      aadsts: 0,
    });
  });

  test("takes the token from its cache, and renews it by its refresh token", async () => {
    const application = await loadPage();
    const [account] = application.getAllAccounts();
    if (account === undefined) throw new Error("no account");
    const cached = await application.acquireTokenSilent({ scopes, account });
    expect(cached.fromCache).toBe(true);
    const renewed = await application.acquireTokenSilent({ scopes, account, forceRefresh: true });
    expect([renewed.fromCache, renewed.accessToken === cached.accessToken]).toEqual([false, false]);
    expect(client.emulator.requests.token.at(-1)).toMatchObject({ grantType: "refresh_token", aadsts: 0 });
  });

  test("hears a challenge as interaction_required, and answers it by a sign-in with a second factor", async () => {
    const policy = client.emulator.requireMfa("ada");
    const application = await loadPage();
    const [account] = application.getAllAccounts();
    if (account === undefined) throw new Error("no account");
    const { accessToken } = await application.acquireTokenSilent({ scopes, account });
    const refused = await client.exchange({ assertion: accessToken });
    const claims = String(refused.body.claims);
    const silent = await application
      .acquireTokenSilent({ scopes, account, claims })
      .catch((error: unknown) => error);
    expect(silent).toBeInstanceOf(InteractionRequiredAuthError);

    const { returned, journey } = await throughAuthority(
      (fresh) => fresh.acquireTokenRedirect({ scopes, account, claims }),
      { user: "ada" },
    );
    expect(journey.pages.map(({ title }) => title)).toEqual(["Approve the sign-in request"]);
    const result = await returned();
    expect((await client.exchange({ assertion: result?.accessToken })).status).toBe(200);
    policy.remove();
  });

  test("hears that the user cancelled", async () => {
    const { returned } = await throughAuthority(
      (application) =>
        application.acquireTokenRedirect({ scopes: ["https://graph.microsoft.com/Calendars.Read"] }),
      { user: "ada", consent: "cancel" },
    );
    await expect(returned()).rejects.toMatchObject({
      errorCode: "access_denied",
      subError: expect.anything(),
    });
  });

  test("hears that the session was revoked, and a new sign-in mends it", async () => {
    client.emulator.revokeSessions("ada");
    const application = await loadPage();
    const [account] = application.getAllAccounts();
    if (account === undefined) throw new Error("no account");
    const silent = await application
      .acquireTokenSilent({
        scopes,
        account,
        forceRefresh: true,
        cacheLookupPolicy: CacheLookupPolicy.RefreshToken,
      })
      .catch((error: unknown) => error);
    expect(silent).toMatchObject({ errorNo: 50173 });
    const { returned, journey } = await throughAuthority(
      (fresh) => fresh.acquireTokenRedirect({ scopes, account }),
      { user: "ada" },
    );
    expect(journey.pages.map(({ title }) => title)).toEqual(["Sign in"]);
    expect((await returned())?.accessToken).toMatch(/^eyJ/);
  });

  test("signs out, and comes back without an account", async () => {
    const before = await loadPage();
    const [account] = before.getAllAccounts();
    const url = await leftBy(before, (application) =>
      application.logoutRedirect({ account: account ?? null, postLogoutRedirectUri: PAGE }),
    );
    const journey = await person.open(url);
    expect(journey.location?.href).toContain(PAGE);
    expect((await loadPage()).getAllAccounts()).toEqual([]);
    expect(person.cookies.has("ESTSAUTHPERSISTENT")).toBe(false);
  });
});
