/** The sample page: signs in with MSAL, calls through the gateway, and shows what each side did. */

import type { AuthenticationResult, Configuration, IPublicClientApplication } from "@azure/msal-browser";
import {
  createGatewayFetch,
  type GatewayFetchEvent,
  GatewayRefusal,
  type Msal,
  msalTokens,
} from "../../../src/browser/index.ts";
import { loopbackDoor } from "./loopback.ts";

interface Settings {
  readonly gateway: string;
  readonly admin: string;
  readonly control: string;
  readonly authorityHost: string;
  readonly door: string;
  readonly tenantId: string;
  readonly frontEndClientId: string;
  readonly clientId: string;
  readonly scenarios: readonly {
    readonly name: string;
    readonly title: string;
    readonly effect: string;
    readonly on: boolean;
  }[];
}

type Account = ReturnType<IPublicClientApplication["getAllAccounts"]>[number];

declare const msal: typeof import("@azure/msal-browser");

const CALLS: readonly { readonly title: string; readonly path: string; readonly init?: RequestInit }[] = [
  { title: "Profile", path: "/api/profile" },
  { title: "Inbox", path: "/api/inbox" },
  { title: "Photo", path: "/graph/me/photo/$value" },
  { title: "File", path: "/graph/me/drive/items/report/content" },
  {
    title: "$batch",
    path: "/graph/$batch",
    init: {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        requests: [
          { id: "1", method: "GET", url: "/me" },
          { id: "2", method: "GET", url: "/me/messages?$top=1&$select=subject" },
        ],
      }),
    },
  },
  { title: "Without permission", path: "/admin-graph/me" },
];

/** What the client did, in words for the log. */
const DONE: Readonly<Record<GatewayFetchEvent["type"], string>> = {
  refused: "The gateway refused",
  signing_in: "The page hands what is asked to the sign-in library",
  joined: "The page waits for a sign-in that is under way",
  renewing: "The page takes a new token",
  consenting: "The page opens the consent page",
  repeated: "The page repeats the request",
};

const element = <Kind extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as Kind;
const settings: Settings = await (await fetch("/settings")).json();
const door = loopbackDoor(new URL(settings.authorityHost).origin, settings.door);
const scopes = [`api://${settings.clientId}/access_as_user`];

const configuration: Configuration = {
  auth: {
    clientId: settings.frontEndClientId,
    authority: `${settings.authorityHost}${settings.tenantId}`,
    knownAuthorities: [new URL(settings.authorityHost).host],
    redirectUri: `${location.origin}/`,
    clientCapabilities: ["cp1"],
  },
  // Shared by the tabs of the page.
  cache: { cacheLocation: "localStorage" },
  system: {
    networkClient: door.networkClient,
    navigationClient: door.navigationClient as never,
    // So that a window which the user closes ends the call at once, and not after a minute.
    enableLegacyPolling: true,
    navigatePopups: false,
  },
};
const application = new msal.PublicClientApplication(configuration);
await application.initialize();

/** A new token is needed before what a scenario changed is seen. */
let renewNext = false;
const library: Msal<Account> = {
  getActiveAccount: () => application.getActiveAccount(),
  getAllAccounts: () => application.getAllAccounts(),
  acquireTokenSilent(request) {
    const forceRefresh = request.forceRefresh ?? renewNext;
    renewNext = false;
    // The emulator's pages do not show in a frame.
    const cacheLookupPolicy = msal.CacheLookupPolicy.AccessTokenAndRefreshToken;
    return application.acquireTokenSilent({ ...request, forceRefresh, cacheLookupPolicy });
  },
  acquireTokenPopup: (request) =>
    application.acquireTokenPopup({
      ...request,
      redirectUri: `${location.origin}/redirect.html`,
      popupWindowParent: door.windowParent,
    }),
  acquireTokenRedirect: (request) => application.acquireTokenRedirect(request),
};

interface Entry {
  did(text: string): void;
  ended(text: string, good: boolean): void;
  show(node: Node): void;
}

function clientFor(entry: Entry) {
  const interaction = document.querySelector<HTMLInputElement>("[name=interaction]:checked")?.value;
  const tokens = msalTokens(library, {
    scopes,
    interaction: interaction === "redirect" ? "redirect" : "popup",
  });
  const gatewayFetch = createGatewayFetch({
    gateway: settings.gateway,
    acquireToken: tokens.acquireToken,
    openConsent: openConsent,
    onEvent: ({ type, code }) => entry.did(`${DONE[type]} (${code}).`),
  });
  return { tokens, gatewayFetch };
}

/** The window closes itself at /consented. */
async function openConsent(uri: string): Promise<boolean> {
  const url = new URL(door.through(uri));
  url.searchParams.set("redirect_uri", `${location.origin}/consented`);
  const window = open(url, "_blank", "popup,width=480,height=640");
  if (window === null) return false;
  while (!window.closed) await new Promise((resolve) => setTimeout(resolve, 200));
  return true;
}

function addEntry(title: string): Entry {
  const article = document.createElement("article");
  const heading = document.createElement("h3");
  heading.textContent = title;
  const steps = document.createElement("ol");
  article.append(heading, steps);
  element("log").querySelector(".empty")?.remove();
  element("log").prepend(article);
  const add = (text: string, kind = "") => {
    const step = document.createElement("li");
    step.textContent = text;
    step.className = kind;
    steps.append(step);
  };
  return {
    did: add,
    ended(text, good) {
      add(text, good ? "good" : "bad");
      article.dataset.ended = good ? "good" : "bad";
    },
    show: (node) => article.append(node),
  };
}

async function show(entry: Entry, began: number, answer: Promise<Response>): Promise<void> {
  try {
    const response = await answer;
    const ms = Math.round(performance.now() - began);
    const id = response.headers.get("x-correlation-id");
    entry.ended(`Answer ${response.status} after ${ms} ms, correlation id ${id}.`, response.ok);
    entry.show(await bodyOf(response));
  } catch (error) {
    entry.ended(wordsFor(error), false);
  }
}

function wordsFor(error: unknown): string {
  if (!(error instanceof GatewayRefusal)) return `The call failed: ${(error as Error).message}`;
  const { code, status, message, cause, retryAfterSeconds, requiredScopes, correlationId } = error;
  return [
    `${status} ${code}: ${message}`,
    requiredScopes.length > 0 && `Needed: ${requiredScopes.join(" or ")}.`,
    retryAfterSeconds !== undefined && `Again in ${retryAfterSeconds} s.`,
    cause instanceof Error && `The sign-in failed: ${cause.message}`,
    `Correlation id ${correlationId}.`,
  ]
    .filter(Boolean)
    .join(" ");
}

async function bodyOf(response: Response): Promise<Node> {
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("image/")) {
    const image = document.createElement("img");
    image.alt = "The user's photo";
    image.src = URL.createObjectURL(await response.blob());
    return image;
  }
  const text = await response.text();
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", "Body of the answer");
  pre.textContent = type.includes("json")
    ? JSON.stringify(JSON.parse(text), undefined, 2)
    : text.slice(0, 2_000);
  return pre;
}

function showSession(): void {
  const account = application.getActiveAccount();
  element("session").textContent =
    account === null ? "Not signed in." : `Signed in as ${account.name ?? account.username}.`;
  element("sign-out").hidden = account === null;
  for (const button of document.querySelectorAll<HTMLButtonElement>("#calls button"))
    button.disabled = account === null;
}

function addCalls(): void {
  for (const { title, path, init } of CALLS) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    button.addEventListener("click", () => {
      const entry = addEntry(`${init?.method ?? "GET"} ${path}`);
      void show(entry, performance.now(), clientFor(entry).gatewayFetch(path, init));
    });
    element("calls").append(button);
  }
}

function addScenarios(): void {
  for (const { name, title, effect, on } of settings.scenarios) {
    const row = document.createElement("div");
    row.className = "scenario";
    const button = document.createElement("button");
    button.type = "button";
    button.id = `scenario-${name}`;
    button.textContent = title;
    button.setAttribute("aria-pressed", String(on));
    const note = document.createElement("p");
    note.id = `effect-${name}`;
    note.textContent = effect;
    button.setAttribute("aria-describedby", note.id);
    button.addEventListener("click", async () => {
      const wanted = button.getAttribute("aria-pressed") !== "true";
      const response = await fetch(`/scenarios/${name}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ on: wanted, user: application.getActiveAccount()?.localAccountId }),
      });
      const { on: isOn, renew } = await response.json();
      button.setAttribute("aria-pressed", String(isOn));
      renewNext ||= renew;
    });
    row.append(button, note);
    element("scenarios").append(row);
  }
}

/** For other clients than this page. */
function addAddresses(): void {
  const text = `TOKEN=$(curl -s -X POST ${settings.control}/tokens | sed 's/.*:"//; s/".*//')
curl -i -H "Authorization: Bearer $TOKEN" ${settings.gateway}/graph/me
curl -s ${settings.admin}/readyz
curl -s ${settings.admin}/metrics`;
  element("addresses").textContent = text;
}

async function returned(): Promise<AuthenticationResult | null> {
  try {
    return await application.handleRedirectPromise();
  } catch (error) {
    addEntry("Sign-in").ended(`The sign-in failed: ${(error as Error).message}`, false);
    return null;
  }
}

const signedIn = await returned();
application.setActiveAccount(
  signedIn?.account ?? application.getActiveAccount() ?? application.getAllAccounts()[0] ?? null,
);
addCalls();
addScenarios();
showSession();
addAddresses();
element<HTMLAnchorElement>("console").href = `${settings.admin}/console`;
if (signedIn !== null) {
  const entry = addEntry("Return from the sign-in");
  const { tokens, gatewayFetch } = clientFor(entry);
  const resumed = tokens.resume(gatewayFetch);
  if (resumed === undefined) entry.ended("Signed in.", true);
  else {
    entry.did(`The page repeats ${resumed.request.method} ${new URL(resumed.request.url).pathname}.`);
    void show(entry, performance.now(), resumed.response);
  }
}

element("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const loginHint = element<HTMLSelectElement>("user").value;
  void application.loginRedirect({ scopes, loginHint, prompt: "select_account" });
});
element("sign-out").addEventListener("click", () => {
  const account = application.getActiveAccount();
  void application.logoutRedirect({ account, postLogoutRedirectUri: `${location.origin}/` });
});
document.documentElement.dataset.ready = "true";
