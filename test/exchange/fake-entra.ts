/** A token endpoint on a real socket, answering as each test says, and what is needed to call it. */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ClientCredential } from "../../src/credential/contract.ts";
import { GatewayError } from "../../src/errors.ts";
import type { ExchangeEvent, ExchangeRequest, OpenTokenExchange } from "../../src/exchange/contract.ts";
import type { SendGrant } from "../../src/exchange/entra/msal.ts";
import { createTokenExchange, type TokenExchangeOptions } from "../../src/exchange/exchange.ts";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import { Secret } from "../../src/foundation/secret.ts";
import type { UserAssertion } from "../../src/identity/contract.ts";

export const HOME = "11111111-1111-4111-8111-111111111111";
export const FOREIGN = "22222222-2222-4222-8222-222222222222";
export const CLIENT = "33333333-3333-4333-8333-333333333333";
export const GRAPH = Object.freeze(["https://graph.microsoft.com/.default"]);
export const HOST = "https://login.microsoftonline.com/";
export const START = Date.UTC(2026, 0, 15, 12);
export const CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1768478400"}}}';

/** What stands in an answer of a wrong turn; none of it may be seen outside. */
export const NEVER_SHOWN = "AADSTS50076: Trouble with jane.doe@example.test from 203.0.113.7.";

export interface TokenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly tenantId: string;
  readonly form: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export type Reply = Answer | ((response: ServerResponse) => void);
export type Responder = (request: TokenRequest, count: number) => Reply | Promise<Reply>;

export interface FakeEntra {
  readonly requests: TokenRequest[];
  /** Every URL that was asked for, of whatever host. */
  readonly urls: string[];
  readonly fetch: Fetch;
  respond(responder: Responder): void;
  close(): Promise<void>;
}

/** A grant whose token names the tenant, the assertion and the count, so that a mix-up shows. */
export const granting: Responder = (request, count) => granted(request, count);

export function granted(request: TokenRequest, count: number, over: object = {}): Answer {
  const scope = request.form.get("scope") ?? "";
  const token = Buffer.from(`${request.tenantId}|${request.form.get("assertion")}|${count}`).toString(
    "base64url",
  );
  return {
    body: {
      token_type: "Bearer",
      scope,
      expires_in: 3600,
      ext_expires_in: 3600,
      access_token: token,
      refresh_token: "refresh-token-never-kept",
      ...over,
    },
  };
}

/** Entra's error body in its usual clothes. */
export function entraError(error: string, number: number, over: object = {}): Answer {
  return {
    status: error === "invalid_client" ? 401 : 400,
    body: {
      error,
      error_description: NEVER_SHOWN,
      error_codes: [number],
      timestamp: "2026-01-15 12:00:00Z",
      trace_id: "aaaaaaaa-0000-4000-8000-000000000001",
      correlation_id: "bbbbbbbb-0000-4000-8000-000000000002",
      error_uri: "https://login.microsoftonline.com/error?code=1",
      ...over,
    },
  };
}

export async function startFakeEntra(): Promise<FakeEntra> {
  const requests: TokenRequest[] = [];
  const urls: string[] = [];
  let responder = granting;
  const server = createServer((incoming, response) => {
    // The tests' clock stands elsewhere; those that are about the difference send a Date of their own.
    response.sendDate = false;
    void (async () => {
      let text = "";
      for await (const chunk of incoming) text += chunk;
      const url = new URL(incoming.url ?? "/", HOST);
      const request: TokenRequest = {
        method: incoming.method ?? "",
        path: url.pathname,
        query: url.searchParams,
        tenantId: url.pathname.split("/")[1] ?? "",
        form: new URLSearchParams(text),
        headers: incoming.headers,
      };
      requests.push(request);
      send(await responder(request, requests.length), response);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    requests,
    urls,
    fetch: (input, init) => {
      urls.push(input);
      const { pathname, search } = new URL(input);
      return fetch(`http://127.0.0.1:${port}${pathname}${search}`, init);
    },
    respond: (next) => {
      responder = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(reply: Reply, response: ServerResponse): void {
  if (typeof reply === "function") {
    reply(response);
    return;
  }
  const { status = 200, headers = {}, body } = reply;
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", ...headers }).end(text);
}

/** A clock that moves only when told. */
export interface Clock {
  readonly now: () => number;
  advance(ms: number): void;
}

export function startClock(): Clock {
  let time = START;
  return {
    now: () => time,
    advance: (ms) => {
      time += ms;
    },
  };
}

export function assertionOf(
  user: string,
  over: Partial<UserAssertion> & { serial?: number } = {},
): UserAssertion {
  const { serial = 1, ...rest } = over;
  const token = `assertion-of-${user}-${serial}`;
  return {
    token: new Secret(token),
    digest: createHash("sha256").update(token).digest("base64url"),
    tenantId: HOME,
    objectId: user,
    expiresAt: START + 4_000_000,
    ...rest,
  };
}

export function requestOf(user: string, over: Partial<ExchangeRequest> = {}): ExchangeRequest {
  return { assertion: assertionOf(user), scopes: GRAPH, correlationId: `correlation-of-${user}`, ...over };
}

/** The refusal that an exchange ends in; fails when it does not end in one. */
export async function refusalOf(exchange: Promise<unknown>): Promise<GatewayError> {
  const outcome = await exchange.catch((error: unknown) => error);
  if (outcome instanceof GatewayError) return outcome;
  throw new Error(`no refusal: ${String(outcome)}`);
}

export const secretCredential: ClientCredential = {
  source: "client-secret",
  authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("the-client-secret") }),
};

export interface Rig extends OpenTokenExchange {
  readonly events: ExchangeEvent[];
  readonly clock: Clock;
}

/** Types of all events so far. */
export const types = ({ events }: Pick<Rig, "events">) => events.map(({ type }) => type);

/** @param send In the place of MSAL's request. */
export function exchangeWith(
  entra: Pick<FakeEntra, "fetch">,
  over: Partial<TokenExchangeOptions> = {},
  send?: SendGrant,
): Rig {
  const events: ExchangeEvent[] = [];
  const clock = startClock();
  const options: TokenExchangeOptions = {
    clientId: CLIENT,
    authorityHost: HOST,
    tokenEndpoint: (tenantId) => `${HOST}${tenantId}/oauth2/v2.0/token`,
    authorizeEndpoint: (tenantId) => `${HOST}${tenantId}/oauth2/v2.0/authorize`,
    homeTenantId: HOME,
    allowedTenants: [HOME, FOREIGN],
    credential: secretCredential,
    fetch: entra.fetch,
    timeoutMs: 5_000,
    cache: { maxEntries: 1_000, maxBytes: 2 ** 29, expiryMarginMs: 60_000 },
    refusalMemoryMs: 3_000,
    budget: { total: 1_000, userShare: 0.125, clientShare: 1 },
    now: clock.now,
    onEvent: (event) => events.push(event),
    ...over,
  };
  return { ...createTokenExchange(options, send), events, clock };
}

/** What waits for `opened` goes on when `open` is called. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Holds every answer back until the result is called. */
export function holdAnswers(entra: FakeEntra): () => void {
  const { opened, open } = gate();
  entra.respond(async (request, count) => {
    await opened;
    return granted(request, count);
  });
  return open;
}
