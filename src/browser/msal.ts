/** Adapter for @azure/msal-browser: tokens by a pop-up window, or by leaving the page and resuming after the return. */

import type { AcquireToken, GatewayFetch, ResumableRequest } from "./contract.ts";

interface MsalRequest<Account> {
  scopes: string[];
  account?: Account;
  claims?: string;
  forceRefresh?: boolean;
}

/** As much of `PublicClientApplication` as is used here; initialised, and `handleRedirectPromise()` awaited. */
export interface Msal<Account> {
  getActiveAccount(): Account | null;
  getAllAccounts(): Account[];
  acquireTokenSilent(request: MsalRequest<Account> & { account: Account }): Promise<{ accessToken: string }>;
  acquireTokenPopup(request: MsalRequest<Account>): Promise<{ accessToken: string }>;
  acquireTokenRedirect(request: MsalRequest<Account>): Promise<unknown>;
}

export interface MsalTokensOptions {
  /** Scope of the gateway: `api://<client id>/access_as_user`. */
  readonly scopes: readonly string[];
  /** `redirect` leaves the page. */
  readonly interaction: "popup" | "redirect";
  /** Keeps what is resumed after a redirect. Default: `sessionStorage`, which belongs to this tab. */
  readonly storage?: PageStorage;
}

/** As much of the Web Storage API as is used here. */
export interface PageStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

export interface MsalTokens {
  readonly acquireToken: AcquireToken;
  /**
   * After the return of a redirect: sends the request that waited for it, once. Undefined where none did. Call it when
   * `handleRedirectPromise()` has resolved to a result.
   */
  resume(
    gatewayFetch: GatewayFetch,
  ): { readonly request: ResumableRequest; readonly response: Promise<Response> } | undefined;
}

const WAITING = "obo-gateway.waiting";
const LEFT = "obo-gateway.left";
/** A page that leaves again so soon for the same demand would come and go for ever. */
const LOOP_MS = 10_000;

export function msalTokens<Account>(
  msal: Msal<Account>,
  { scopes, interaction, storage = tabStorage() }: MsalTokensOptions,
): MsalTokens {
  async function leave(
    request: MsalRequest<Account>,
    resumable: ResumableRequest | undefined,
  ): Promise<never> {
    const [demand, at] = JSON.parse(storage.getItem(LEFT) ?? "[]");
    if (demand === (request.claims ?? "") && Date.now() - at < LOOP_MS)
      throw new Error("The sign-in has just been done, and did not meet the demand.");
    storage.setItem(LEFT, JSON.stringify([request.claims ?? "", Date.now()]));
    if (resumable) storage.setItem(WAITING, JSON.stringify(resumable));
    await msal.acquireTokenRedirect(request);
    // The page is being left; no request may go on in it.
    return await new Promise<never>(() => {});
  }

  return {
    async acquireToken({ claims, renew, interactive, resumable }) {
      const account = msal.getActiveAccount() ?? msal.getAllAccounts()[0];
      const request = { scopes: [...scopes], ...(account && { account }), ...(claims && { claims }) };
      if (account && !interactive) {
        try {
          const silent = { ...request, account, ...(renew && { forceRefresh: true }) };
          return (await msal.acquireTokenSilent(silent)).accessToken;
        } catch (error) {
          // By its name: an instance of another copy of the library would not be recognised by its class.
          if ((error as Error).name !== "InteractionRequiredAuthError") throw error;
        }
      }
      if (interaction === "redirect") return await leave(request, resumable);
      return (await msal.acquireTokenPopup(request)).accessToken;
    },

    resume(gatewayFetch) {
      const waiting = storage.getItem(WAITING);
      storage.removeItem(WAITING);
      if (waiting === null) return undefined;
      const request: ResumableRequest = JSON.parse(waiting);
      const { url, method, headers, body } = request;
      const init = { method, headers: headers.map(([name, value]): [string, string] => [name, value]) };
      return { request, response: gatewayFetch(url, body === undefined ? init : { ...init, body }) };
    },
  };
}

function tabStorage(): PageStorage {
  return (globalThis as unknown as { readonly sessionStorage: PageStorage }).sessionStorage;
}
