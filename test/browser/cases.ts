/** What the browser client promises, as functions that run in Node and in a page alike: they know no test framework. */

import {
  createGatewayFetch,
  type GatewayFetchEvent,
  type GatewayFetchOptions,
  GatewayRefusal,
  type Msal,
  msalTokens,
  type TokenRequest,
} from "../../src/browser/index.ts";
import type { ScriptedAnswer, SeenRequest } from "./scripted-gateway.ts";

export interface Surroundings {
  /** A scripted gateway, and a second one: another origin. */
  readonly gateway: string;
  readonly elsewhere: string;
}

type Case = (surroundings: Surroundings) => Promise<void>;

let serial = 0;
const CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"},"café":null}}';

function equal(seen: unknown, promised: unknown): void {
  const [one, other] = [JSON.stringify(seen), JSON.stringify(promised)];
  if (one !== other) throw new Error(`${one} instead of ${other}`);
}

async function rejected(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not reject");
}

async function refused(promise: Promise<unknown>): Promise<GatewayRefusal> {
  const error = await rejected(promise);
  if (!(error instanceof GatewayRefusal)) throw error;
  return error;
}

interface World {
  readonly url: string;
  /** What the sign-in library was asked for, beyond tokens for new requests. */
  readonly asked: TokenRequest[];
  readonly events: string[];
  readonly call: ReturnType<typeof createGatewayFetch>;
  seen(): Promise<SeenRequest[]>;
}

/** A client whose first token is `t0`, and `t1`, `t2` … the later ones. */
async function world(
  gateway: string,
  answers: readonly ScriptedAnswer[],
  options: Partial<GatewayFetchOptions> = {},
): Promise<World> {
  serial += 1;
  const name = `${serial}-${Math.random().toString(36).slice(2)}`;
  await fetch(`${gateway}/script/${name}`, { method: "PUT", body: JSON.stringify(answers) });
  const asked: TokenRequest[] = [];
  const events: string[] = [];
  let tokens = 0;
  const call = createGatewayFetch({
    gateway,
    async acquireToken(request) {
      if (Object.keys(request).every((member) => member === "resumable")) return `t${tokens}`;
      asked.push(request);
      await new Promise((resolve) => setTimeout(resolve, 20));
      tokens += 1;
      return `t${tokens}`;
    },
    onEvent: ({ type, code }: GatewayFetchEvent) => events.push(`${type} ${code}`),
    ...options,
  });
  return {
    url: `${gateway}/case/${name}`,
    asked,
    events,
    call,
    seen: async () => (await fetch(`${gateway}/seen/${name}`)).json() as Promise<SeenRequest[]>,
  };
}

const OK: ScriptedAnswer = { status: 200, body: "fine" };

function problem(status: number, code: string, more: object = {}, headers = {}): ScriptedAnswer {
  return {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
    body: JSON.stringify({
      type: `urn:obo-gateway:problem:${code}`,
      code,
      detail: `because of ${code}`,
      correlationId: "c-1",
      ...more,
    }),
  };
}

function challenge(claims: string): Record<string, string> {
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(claims)));
  return { "www-authenticate": `Bearer realm="x", error="insufficient_claims", claims="${encoded}"` };
}

const claimsChallenged = (claims = CLAIMS) => problem(401, "claims_challenged", {}, challenge(claims));
const bearers = (seen: readonly SeenRequest[]) => seen.map(({ authorization }) => authorization);

/** Chromium sends requests for one address one after the other, in the hope of an answer that it can cache. */
const several = (url: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${url}?${index}`);

/** A store as a tab has one. */
function storage() {
  const held = new Map<string, string>();
  return {
    held,
    getItem: (name: string) => held.get(name) ?? null,
    setItem: (name: string, value: string) => void held.set(name, value),
    removeItem: (name: string) => void held.delete(name),
  };
}

interface Ways {
  silent?: (request: object) => Promise<{ accessToken: string }>;
  popup?: (request: object) => Promise<{ accessToken: string }>;
  redirect?: (request: object) => Promise<void>;
  active?: string | null;
  accounts?: string[];
}

function msal({ silent, popup, redirect, active = "ada", accounts = [] }: Ways): Msal<string> {
  const unexpected = async () => {
    throw new Error("unexpected");
  };
  return {
    getActiveAccount: () => active,
    getAllAccounts: () => accounts,
    acquireTokenSilent: silent ?? unexpected,
    acquireTokenPopup: popup ?? unexpected,
    acquireTokenRedirect: redirect ?? unexpected,
  };
}

function interactionRequired(): Error {
  return Object.assign(new Error("interaction_required"), { name: "InteractionRequiredAuthError" });
}

export const CASES: Readonly<Record<string, Case>> = {
  async "puts the token in, and hands the answer over as it is"({ gateway }) {
    const { call, url, seen } = await world(gateway, [{ status: 404, body: "not here" }]);
    const response = await call(url, { headers: { "x-field": "kept", authorization: "Bearer other" } });
    equal([response.status, await response.text()], [404, "not here"]);
    const [{ authorization, field } = {}] = (await seen()) as Partial<SeenRequest>[];
    equal([authorization, field], ["Bearer t0", "kept"]);
  },

  async "takes a Request with its header fields, and an address relative to the gateway"({ gateway }) {
    const { call, url, seen } = await world(gateway, [OK]);
    await (await call(new Request(url, { headers: { "x-field": "kept" } }))).text();
    await (await call(new URL(url))).text();
    await (await call(new URL(url).pathname)).text();
    equal(bearers(await seen()), ["Bearer t0", "Bearer t0", "Bearer t0"]);
    equal((await seen())[0]?.field, "kept");
  },

  async "sends no token to another origin, by itself"({ gateway, elsewhere }) {
    const there = await world(elsewhere, [OK]);
    const { call } = await world(gateway, []);
    await (await call(there.url)).text();
    await (await call(new Request(there.url))).text();
    equal(bearers(await there.seen()), [undefined, undefined]);
  },

  async "sends no token to another origin, by a redirect"({ gateway, elsewhere }) {
    const there = await world(elsewhere, [OK]);
    const { call, url } = await world(gateway, [{ status: 302, headers: { location: there.url } }]);
    await (await call(url)).text();
    equal(bearers(await there.seen()), [undefined]);
  },

  async "hands the claims of a challenge to the sign-in library, and repeats the request once"({ gateway }) {
    const { call, url, asked, events, seen } = await world(gateway, [claimsChallenged(), OK]);
    const response = await call(url, { method: "PUT", body: "text", headers: { "x-field": "kept" } });
    equal(await response.text(), "fine");
    equal(
      asked.map(({ claims }) => claims),
      [CLAIMS],
    );
    equal(
      (await seen()).map(({ method, authorization, body, field }) => [method, authorization, body, field]),
      [
        ["PUT", "Bearer t0", "text", "kept"],
        ["PUT", "Bearer t1", "text", "kept"],
      ],
    );
    equal(events, [
      "refused claims_challenged",
      "signing_in claims_challenged",
      "repeated claims_challenged",
    ]);
  },

  async "never repeats a second time"({ gateway }) {
    const { call, url, seen } = await world(gateway, [claimsChallenged()]);
    const error = await refused(call(url));
    equal([error.code, error.claims, error.status], ["claims_challenged", CLAIMS, 401]);
    equal((await seen()).length, 2);
  },

  async "joins challenges of requests that run at the same time to one sign-in"({ gateway }) {
    const challenged = { ...claimsChallenged(), together: 3 };
    const { call, url, asked, events, seen } = await world(gateway, [challenged, challenged, challenged, OK]);
    const responses = await Promise.all(several(url, 3).map((one) => call(one)));
    equal(
      responses.map(({ status }) => status),
      [200, 200, 200],
    );
    await Promise.all(responses.map((response) => response.text()));
    equal(asked.length, 1);
    equal(events.filter((event) => event.startsWith("joined")).length, 2);
    equal(bearers(await seen()).slice(3), ["Bearer t1", "Bearer t1", "Bearer t1"]);
  },

  async "signs in anew for a challenge that comes after the last one was met"({ gateway }) {
    const { call, url, asked } = await world(gateway, [claimsChallenged(), OK, claimsChallenged(), OK]);
    for (const response of [await call(url), await call(url)]) equal(await response.text(), "fine");
    equal(asked.length, 2);
  },

  async "meets different challenges one after the other"({ gateway }) {
    const first = { ...claimsChallenged('{"a":1}'), together: 2 };
    const second = { ...claimsChallenged('{"b":2}'), together: 2 };
    let open = 0;
    let most = 0;
    const { call, url } = await world(gateway, [first, second, OK], {
      async acquireToken({ claims }) {
        if (claims === undefined) return "t";
        open += 1;
        most = Math.max(most, open);
        await new Promise((resolve) => setTimeout(resolve, 30));
        open -= 1;
        if (claims.includes("a")) throw new Error("cancelled");
        return "t2";
      },
    });
    const outcomes = await Promise.allSettled(several(url, 2).map((one) => call(one)));
    equal(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    equal(most, 1);
  },

  async "says what the gateway wanted when the sign-in fails, with the library's error as the cause"({
    gateway,
  }) {
    const { call, url, seen } = await world(gateway, [claimsChallenged()], {
      acquireToken: async ({ claims }) => {
        if (claims !== undefined) throw new Error("user_cancelled");
        return "t0";
      },
    });
    const error = await refused(call(url));
    equal([error.code, (error.cause as Error).message], ["claims_challenged", "user_cancelled"]);
    equal((await seen()).length, 1);
  },

  async "leaves an error of the library as it is where the gateway was not asked"({ gateway }) {
    const { call, url } = await world(gateway, [], {
      acquireToken: async () => {
        throw new Error("not signed in");
      },
    });
    equal((await rejected(call(url))).message, "not signed in");
  },

  async "asks for an interactive sign-in where the gateway names no claims"({ gateway }) {
    const { call, url, asked } = await world(gateway, [problem(401, "interaction_required"), OK]);
    await (await call(url)).text();
    equal(
      asked.map(({ interactive, claims, renew }) => [interactive, claims, renew]),
      [[true, undefined, undefined]],
    );
  },

  async "takes claims from the problem for clients that are not challenged"({ gateway }) {
    const wanted = problem(401, "interaction_required", { claims: '{"a":1}' });
    const { call, url, asked } = await world(gateway, [wanted, OK]);
    await (await call(url)).text();
    equal(
      asked.map(({ claims }) => claims),
      ['{"a":1}'],
    );
  },

  async "renews a token that is not accepted"({ gateway }) {
    const { call, url, asked, seen } = await world(gateway, [problem(401, "token_rejected"), OK]);
    await (await call(url)).text();
    equal(
      asked.map(({ renew }) => renew),
      [true],
    );
    equal(bearers(await seen()), ["Bearer t0", "Bearer t1"]);
  },

  async "opens the address for consent, and repeats when the user has consented"({ gateway }) {
    const uris: string[] = [];
    const wanted = problem(403, "consent_required", { consentUri: "https://login.example/consent" });
    const { call, url, events, asked } = await world(gateway, [wanted, OK], {
      openConsent: async (uri) => {
        uris.push(uri);
        return true;
      },
    });
    equal(await (await call(url)).text(), "fine");
    equal(uris, ["https://login.example/consent"]);
    equal(asked, [{ renew: true }]);
    equal(events.slice(1), ["consenting consent_required", "repeated consent_required"]);
  },

  async "throws the refusal when the user does not consent, and opens nothing but pages"({ gateway }) {
    const opened: string[] = [];
    const openConsent = async (uri: string) => {
      opened.push(uri);
      return false;
    };
    for (const more of [
      { consentUri: "https://login.example/" },
      { consentUri: "javascript:alert(1)" },
      {},
    ]) {
      const { call, url, seen } = await world(gateway, [problem(403, "consent_required", more)], {
        openConsent,
      });
      equal((await refused(call(url))).code, "consent_required");
      equal((await seen()).length, 1);
    }
    equal(opened, ["https://login.example/"]);
  },

  async "opens a window for consent by default, and waits until it closes"({ gateway }) {
    const page = globalThis as { open?: unknown };
    const before = page.open;
    const window = { closed: false };
    const wanted = problem(403, "consent_required", { consentUri: "https://login.example/" });
    try {
      const { call, url } = await world(gateway, [wanted, OK]);
      page.open = () => window;
      setTimeout(() => {
        window.closed = true;
      }, 100);
      equal(await (await call(url)).text(), "fine");
      page.open = () => null;
      const blocked = await world(gateway, [wanted]);
      equal((await refused(blocked.call(blocked.url))).code, "consent_required");
    } finally {
      page.open = before;
    }
  },

  async "throws every other refusal with what the contract says of it"({ gateway }) {
    const scope = problem(403, "scope_insufficient", { requiredScopes: ["admin.read"] });
    const limited = problem(429, "rate_limited", {}, { "retry-after": "7" });
    const first = await world(gateway, [scope]);
    const error = await refused(first.call(first.url));
    equal(
      [
        error.name,
        error.code,
        error.message,
        error.correlationId,
        error.requiredScopes,
        error.retryAfterSeconds,
      ],
      [
        "GatewayRefusal",
        "scope_insufficient",
        "because of scope_insufficient",
        "c-1",
        ["admin.read"],
        undefined,
      ],
    );
    const second = await world(gateway, [limited]);
    equal((await refused(second.call(second.url))).retryAfterSeconds, 7);
    equal((await second.seen()).length, 1);
  },

  async "understands a refusal without a body by its challenge"({ gateway }) {
    const { call, url, asked } = await world(gateway, [claimsChallenged(), { status: 200 }]);
    equal((await call(url, { method: "HEAD" })).status, 200);
    equal(
      asked.map(({ claims }) => claims),
      [CLAIMS],
    );
    const { "www-authenticate": field } = { "www-authenticate": 'Bearer error="invalid_token"' };
    const headers = { "content-type": "application/problem+json", "www-authenticate": field };
    const other = await world(gateway, [{ status: 401, headers: { ...headers, "x-correlation-id": "c-2" } }]);
    const error = await refused(other.call(other.url, { method: "HEAD" }));
    equal(
      [error.code, error.correlationId, error.message],
      ["token_rejected", "c-2", "urn:obo-gateway:problem:token_rejected"],
    );
    const anonymous = await world(gateway, [{ status: 401, headers }]);
    equal((await refused(anonymous.call(anonymous.url, { method: "HEAD" }))).correlationId, "");
    const unknown = { ...headers, "www-authenticate": "Bearer" };
    const plain = await world(gateway, [{ status: 401, headers: unknown }]);
    equal((await plain.call(plain.url, { method: "HEAD" })).status, 401);
  },

  async "leaves problems of APIs alone, and their bodies whole"({ gateway }) {
    const bodies = ['{"type":"about:blank","title":"no"}', "not JSON", "null", '{"type":7}'];
    for (const body of bodies) {
      const headers = { "content-type": "application/problem+json; charset=utf-8" };
      const { call, url } = await world(gateway, [{ status: 409, headers, body }]);
      const response = await call(url);
      equal([response.status, await response.text()], [409, body]);
    }
    const { call, url } = await world(gateway, [problem(200, "claims_challenged")]);
    equal((await call(url)).status, 200);
  },

  async "reads claims that are no base64 or no UTF-8 as none, and then signs in interactively"({ gateway }) {
    for (const claims of ["%%%", btoa("\xff\xfe")]) {
      const field = { "www-authenticate": `Bearer error="insufficient_claims", claims="${claims}"` };
      const { call, url, asked } = await world(gateway, [problem(401, "claims_challenged", {}, field), OK]);
      await (await call(url)).text();
      equal(
        asked.map(({ interactive }) => interactive),
        [true],
      );
    }
  },

  async "hands an answer over while it still comes"({ gateway }) {
    const { call, url } = await world(gateway, [{ status: 200, body: "first", open: true }]);
    const abort = new AbortController();
    const response = await call(url, { signal: abort.signal });
    const reader = response.body?.getReader();
    equal(new TextDecoder().decode((await reader?.read())?.value), "first");
    abort.abort();
    equal((await rejected(reader?.read() ?? Promise.resolve())).name, "AbortError");
  },

  async "repeats bodies of every kind that can be sent twice"({ gateway }) {
    const bodies = [
      "text",
      new TextEncoder().encode("text"),
      new TextEncoder().encode("text").buffer,
      new Blob(["text"]),
      new URLSearchParams("text"),
    ];
    for (const body of bodies) {
      const { call, url, seen } = await world(gateway, [claimsChallenged(), OK]);
      await (await call(url, { method: "POST", body })).text();
      const sent = (await seen()).map((request) => request.body.replace("=", ""));
      equal(sent, ["text", "text"]);
    }
    const { call, url, seen } = await world(gateway, [claimsChallenged(), OK]);
    const init = { method: "POST", body: "text", signal: null };
    await (await call(url, init)).text();
    equal((await seen()).length, 2);
  },

  async "signs in for a body that cannot be sent twice, and says so by the refusal"({ gateway }) {
    const { call, url, asked, seen } = await world(gateway, [claimsChallenged()]);
    equal(
      (await refused(call(new Request(url, { method: "POST", body: "text" })))).code,
      "claims_challenged",
    );
    equal([asked.length, asked[0]?.resumable, (await seen()).length], [1, undefined, 1]);
  },

  async "describes a request that can be resumed, without its token"({ gateway }) {
    const headers = { "x-field": "kept", authorization: "Bearer secret" };
    const { call, url, asked } = await world(gateway, [claimsChallenged(), OK, claimsChallenged(), OK]);
    await (await call(url, { method: "POST", body: "text", headers })).text();
    equal(asked[0]?.resumable, { url, method: "POST", headers: [["x-field", "kept"]], body: "text" });
    await (await call(new Request(url, { headers: { "x-field": "kept" } }))).text();
    const { url: there, method, body } = asked[1]?.resumable ?? {};
    equal([there, method, body], [url, "GET", undefined]);
    const long = await world(gateway, [claimsChallenged(), OK]);
    await (await long.call(long.url, { method: "POST", body: "x".repeat(65_537) })).text();
    equal(long.asked[0]?.resumable, undefined);
  },

  async "ends its wait for a sign-in with the signal, and leaves the sign-in to others"({ gateway }) {
    const abort = new AbortController();
    let finish = (_token: string) => {};
    const challenged = { ...claimsChallenged(), together: 2 };
    const { call, url } = await world(gateway, [challenged, challenged, OK], {
      acquireToken: ({ claims }) => {
        if (claims === undefined) return Promise.resolve("t0");
        abort.abort();
        return new Promise((resolve) => {
          finish = resolve;
        });
      },
    });
    const [first = "", second = ""] = several(url, 2);
    const stays = call(first);
    const leaves = await rejected(call(second, { signal: abort.signal }));
    equal(leaves.name, "AbortError");
    finish("t1");
    equal(await (await stays).text(), "fine");
  },

  async "asks for no token for a request that is aborted already"({ gateway }) {
    let asked = 0;
    const { call, url } = await world(gateway, [], {
      acquireToken: async () => {
        asked += 1;
        return "t0";
      },
    });
    const signal = AbortSignal.abort();
    equal((await rejected(call(url, { signal }))).name, "AbortError");
    equal((await rejected(call(new Request(url, { signal })))).name, "AbortError");
    equal(asked, 0);
  },

  async "sends by the fetch that it is given"({ gateway }) {
    const sent: string[] = [];
    const { call, url } = await world(gateway, [OK], {
      onEvent: () => {},
      fetch: async (input, init) => {
        sent.push(new Headers(init?.headers).get("authorization") ?? "");
        return fetch(input, init);
      },
    });
    await (await call(url)).text();
    equal(sent, ["Bearer t0"]);
  },

  async "reports nothing where nobody listens, and works all the same"({ gateway }) {
    const { url } = await world(gateway, [claimsChallenged(), OK]);
    const call = createGatewayFetch({ gateway, acquireToken: async ({ claims }) => (claims ? "t1" : "t0") });
    equal(await (await call(url)).text(), "fine");
  },

  async "MSAL: takes tokens silently, with claims and renewal passed on"() {
    const requests: object[] = [];
    const library = msal({
      silent: async (request) => {
        requests.push(request);
        return { accessToken: "silent" };
      },
    });
    const { acquireToken } = msalTokens(library, { scopes: ["s"], interaction: "popup", storage: storage() });
    equal(await acquireToken({}), "silent");
    await acquireToken({ claims: CLAIMS });
    await acquireToken({ renew: true });
    equal(requests, [
      { scopes: ["s"], account: "ada" },
      { scopes: ["s"], account: "ada", claims: CLAIMS },
      { scopes: ["s"], account: "ada", forceRefresh: true },
    ]);
  },

  async "MSAL: opens a window where the library wants interaction, the gateway does, or no one is signed in"() {
    const windows: object[] = [];
    const popup = async (request: object) => {
      windows.push(request);
      return { accessToken: "window" };
    };
    const silent = async () => {
      throw interactionRequired();
    };
    const options = { scopes: ["s"], interaction: "popup", storage: storage() } as const;
    equal(await msalTokens(msal({ silent, popup }), options).acquireToken({ claims: CLAIMS }), "window");
    equal(await msalTokens(msal({ popup }), options).acquireToken({ interactive: true }), "window");
    equal(await msalTokens(msal({ popup, active: null }), options).acquireToken({}), "window");
    const known = msal({ silent, popup, active: null, accounts: ["grace"] });
    await msalTokens(known, options).acquireToken({});
    equal(windows, [
      { scopes: ["s"], account: "ada", claims: CLAIMS },
      { scopes: ["s"], account: "ada" },
      { scopes: ["s"] },
      { scopes: ["s"], account: "grace" },
    ]);
  },

  async "MSAL: leaves other errors of the library as they are"() {
    const silent = async () => {
      throw new Error("offline");
    };
    const tokens = msalTokens(msal({ silent }), { scopes: ["s"], interaction: "popup", storage: storage() });
    equal((await rejected(tokens.acquireToken({}))).message, "offline");
  },

  async "MSAL: leaves the page for a sign-in, and resumes the request after the return, once"({ gateway }) {
    const store = storage();
    let left = (_request: object) => {};
    const leaving = new Promise<object>((resolve) => {
      left = resolve;
    });
    const before = msal({
      silent: async (request) => {
        if ("claims" in request) throw interactionRequired();
        return { accessToken: "t0" };
      },
      redirect: async (request) => left(request),
    });
    const options = { scopes: ["s"], interaction: "redirect", storage: store } as const;
    const { url, seen } = await world(gateway, [claimsChallenged(), OK]);
    const { acquireToken } = msalTokens(before, options);
    // This page ends here: its request never settles.
    void createGatewayFetch({ gateway, acquireToken })(url, {
      method: "POST",
      body: "text",
      headers: { "x-field": "kept" },
    });
    equal(await leaving, { scopes: ["s"], account: "ada", claims: CLAIMS });

    const after = msalTokens(msal({ silent: async () => ({ accessToken: "t1" }) }), options);
    const call = createGatewayFetch({ gateway, acquireToken: after.acquireToken });
    const resumed = after.resume(call);
    equal([resumed?.request.method, resumed?.request.body], ["POST", "text"]);
    equal(await (await resumed?.response)?.text(), "fine");
    equal(after.resume(call), undefined);
    equal(
      (await seen()).map(({ authorization, body, field }) => [authorization, body, field]),
      [
        ["Bearer t0", "text", "kept"],
        ["Bearer t1", "text", "kept"],
      ],
    );
  },

  async "MSAL: does not leave the page again and again for a demand that a sign-in does not meet"() {
    const store = storage();
    const leaves: object[] = [];
    const library = msal({
      redirect: async (request) => {
        leaves.push(request);
      },
      silent: async () => {
        throw interactionRequired();
      },
    });
    const tokens = () => msalTokens(library, { scopes: ["s"], interaction: "redirect", storage: store });
    void tokens().acquireToken({ claims: CLAIMS });
    await new Promise((resolve) => setTimeout(resolve, 20));
    const error = await rejected(tokens().acquireToken({ claims: CLAIMS }));
    equal([leaves.length, /did not meet/.test(error.message)], [1, true]);
    void tokens().acquireToken({ claims: '{"other":1}' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    void tokens().acquireToken({ interactive: true });
    await new Promise((resolve) => setTimeout(resolve, 20));
    equal(leaves.length, 3);
  },

  async "MSAL: resumes a request without a body, from the tab's storage"({ gateway }) {
    const { url, call } = await world(gateway, [OK]);
    const page = globalThis as { sessionStorage?: unknown };
    const kept = Object.getOwnPropertyDescriptor(globalThis, "sessionStorage");
    const store = storage();
    Object.defineProperty(page, "sessionStorage", { value: store, configurable: true });
    try {
      store.setItem("obo-gateway.waiting", JSON.stringify({ url, method: "GET", headers: [] }));
      const resumed = msalTokens(msal({}), { scopes: ["s"], interaction: "redirect" }).resume(call);
      equal(await (await resumed?.response)?.text(), "fine");
    } finally {
      if (kept === undefined) delete page.sessionStorage;
      else Object.defineProperty(page, "sessionStorage", kept);
    }
  },
};
