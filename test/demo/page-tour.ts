/** The sample page's requests without a browser: the same client signs in through the same door and calls the same routes. */

import { createHash, randomBytes } from "node:crypto";
import { fetch as undiciFetch } from "undici";
import { createGatewayFetch, type GatewayFetchEvent } from "../../src/browser/index.ts";
import { createPerson } from "../emulator/person.ts";
import type { GatewayProcess } from "../support/processes.ts";
import type { DemoSite } from "./site.ts";
import { expect, type Step } from "./tour.ts";

interface Settings {
  readonly gateway: string;
  readonly door: string;
  readonly tenantId: string;
  readonly clientId: string;
  readonly frontEndClientId: string;
}

export async function createPageTour(site: DemoSite, gateway: Pick<GatewayProcess, "url">): Promise<Step[]> {
  const settings = (await (await fetch(`${site.url}/settings`)).json()) as Settings;
  const person = createPerson(`${settings.door}/`, (url, init) => undiciFetch(url, init));
  const events: string[] = [];
  let token: string | undefined;

  /** As MSAL does it: code flow with PKCE, redeemed with the page's origin. */
  async function signIn(claims?: string): Promise<string> {
    const verifier = randomBytes(32).toString("base64url");
    const redirectUri = `${site.url}/redirect.html`;
    const endpoint = `${settings.door}/${settings.tenantId}/oauth2/v2.0`;
    const request = new URLSearchParams({
      client_id: settings.frontEndClientId,
      response_type: "code",
      redirect_uri: redirectUri,
      scope: `api://${settings.clientId}/access_as_user openid offline_access`,
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256",
      claims: claims ?? JSON.stringify({ access_token: { xms_cc: { values: ["cp1"] } } }),
    });
    const { answer, pages } = await person.signIn(`${endpoint}/authorize?${request}`, { user: "grace" });
    if (answer.code === undefined) throw new Error(`no code; the last page was ${pages.at(-1)?.title}`);
    const response = await fetch(`${endpoint}/token`, {
      method: "POST",
      headers: { origin: site.url },
      body: new URLSearchParams({
        grant_type: "authorization_code",
        client_id: settings.frontEndClientId,
        redirect_uri: redirectUri,
        code_verifier: verifier,
        code: answer.code,
      }),
    });
    const { access_token: accessToken } = (await response.json()) as { access_token?: string };
    if (accessToken === undefined) throw new Error(`the token endpoint answered ${response.status}`);
    return accessToken;
  }

  const gatewayFetch = createGatewayFetch({
    gateway: settings.gateway,
    async acquireToken({ claims, interactive }) {
      if (token === undefined || claims !== undefined || interactive === true)
        token = await signIn(claims && withCapability(claims));
      return token;
    },
    onEvent: ({ type, code }: GatewayFetchEvent) => events.push(`${type} ${code}`),
  });

  async function switchTo(name: string, on: boolean): Promise<void> {
    const response = await fetch(`${site.url}/scenarios/${name}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ on, user: "grace" }),
    });
    expect(`scenario ${name}`, response.status, 200);
  }

  return [
    {
      title: "the sample page is served, and the gateway lets its origin call",
      async run() {
        expect("gateway of the page", settings.gateway, gateway.url);
        for (const path of [
          "/",
          "/page.js",
          "/page.css",
          "/msal-browser.js",
          "/redirect.html",
          "/consented",
        ]) {
          const response = await fetch(site.url + path);
          expect(path, response.status, 200);
          await response.arrayBuffer();
        }
        const preflight = await fetch(`${gateway.url}/graph/me`, {
          method: "OPTIONS",
          headers: {
            origin: site.url,
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
          },
        });
        expect("allowed origin", preflight.headers.get("access-control-allow-origin"), site.url);
        return site.url;
      },
    },
    {
      title: "the page's client signs grace in and makes the page's calls",
      async run() {
        const batch = {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ requests: [{ id: "1", method: "GET", url: "/me" }] }),
        };
        const calls: readonly (readonly [string, RequestInit?])[] = [
          ["/api/profile"],
          ["/api/inbox"],
          ["/graph/me/drive/items/report/content"],
          ["/graph/$batch", batch],
        ];
        for (const [path, init] of calls) {
          const response = await gatewayFetch(path, init);
          expect(path, response.status, 200);
          await response.arrayBuffer();
        }
        return `${calls.length} calls, 200 each`;
      },
    },
    {
      title: "MFA in mid-call: the client hands the claims to the sign-in, grace passes, the call succeeds",
      async run() {
        await switchTo("mfa", true);
        token = await signIn();
        events.length = 0;
        const response = await gatewayFetch("/graph/me");
        await switchTo("mfa", false);
        expect("status", response.status, 200);
        const all = events.join(", ");
        expect(
          "what was done",
          all,
          `${["refused", "signing_in", "repeated"].join(" claims_challenged, ")} claims_challenged`,
        );
        return all;
      },
    },
    {
      title: "Graph is throttled: the page gets its 429 with Retry-After",
      async run() {
        await switchTo("throttled", true);
        const response = await gatewayFetch("/graph/me");
        await switchTo("throttled", false);
        expect("status", response.status, 429);
        return `429, Retry-After ${response.headers.get("retry-after")}`;
      },
    },
  ];
}

/** MSAL adds it to every claims request of a client that declares the capability. */
function withCapability(claims: string): string {
  const request = JSON.parse(claims) as { access_token?: object };
  return JSON.stringify({
    ...request,
    access_token: { ...request.access_token, xms_cc: { values: ["cp1"] } },
  });
}
