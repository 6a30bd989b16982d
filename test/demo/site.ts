/** Serves the sample page on loopback: the page, its settings, the scenarios, and a plain door to the emulator's authority. */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { request as secureRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { EmulatorFacts } from "../support/processes.ts";
import { type ControlPort, SCENARIOS } from "./scenarios.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MSAL = "../../node_modules/@azure/msal-browser/lib/";

/** `localhost` is a secure origin for browsers, and what the front end's redirect URIs name. */
export interface DemoSite {
  readonly url: string;
  /** Where the gateway is, once it has started. */
  serve(gateway: { readonly url: string; readonly adminUrl: string }): void;
  stop(): Promise<void>;
}

export async function startDemoSite(facts: EmulatorFacts, control: ControlPort, port = 0): Promise<DemoSite> {
  const files = await pageFiles();
  const running = new Map<string, () => Promise<void>>();
  let gateway: { readonly url: string; readonly adminUrl: string } | undefined;
  const door = createServer(passToAuthority(facts.authorityHost, await readFile(facts.caFile, "utf8")));

  const settings = () => ({
    gateway: gateway?.url,
    admin: gateway?.adminUrl,
    control: facts.controlUrl,
    authorityHost: facts.authorityHost,
    door: doorUrl,
    tenantId: facts.tenantId,
    clientId: facts.clientId,
    frontEndClientId: facts.frontEndClientId,
    scenarios: SCENARIOS.map(({ name, title, effect }) => ({ name, title, effect, on: running.has(name) })),
  });

  async function switchScenario(name: string, body: string): Promise<object | undefined> {
    const scenario = SCENARIOS.find((one) => one.name === name);
    if (scenario === undefined) return undefined;
    const { on, user } = JSON.parse(body) as { on?: unknown; user?: unknown };
    await running.get(name)?.();
    running.delete(name);
    if (on === true) {
      // The emulator's users by name or object id; anything else would be a path of its control port.
      const subject = typeof user === "string" && /^[\w-]+$/.test(user) ? user : "ada";
      const end = await scenario.begin(control, subject);
      if (end !== undefined) running.set(name, end);
    }
    return { on: running.has(name), renew: scenario.renew };
  }

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const json = (status: number, value: object) =>
      send(response, status, "application/json", JSON.stringify(value));
    // A page of another name that leads here (DNS rebinding), or of another origin, must not steer the emulator.
    if (!/^localhost:\d+$/.test(request.headers.host ?? "")) return json(421, { problem: "call localhost" });
    const file = files[pathname];
    if (request.method === "GET" && file !== undefined) return send(response, 200, file.type, file.text);
    if (request.method === "GET" && pathname === "/settings") return json(200, settings());
    const scenario = /^\/scenarios\/(\w+)$/.exec(pathname)?.[1];
    if (request.method !== "POST" || scenario === undefined) return json(404, { problem: "no such page" });
    if (request.headers["content-type"] !== "application/json") return json(415, { problem: "send JSON" });
    const outcome = await switchScenario(scenario, await textOf(request));
    return outcome === undefined ? json(404, { problem: "no such scenario" }) : json(200, outcome);
  };
  const site = createServer((request, response) => {
    answer(request, response).catch((error: unknown) =>
      send(response, 500, "text/plain", error instanceof Error ? error.message : String(error)),
    );
  });
  const url = await listening(site, port);
  const doorUrl = await listening(door, 0);

  return {
    url,
    serve(started) {
      gateway = started;
    },
    async stop() {
      for (const server of [site, door]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}

interface PageFile {
  readonly type: string;
  readonly text: string;
}

async function pageFiles(): Promise<Readonly<Record<string, PageFile>>> {
  const text = (path: string) => readFile(here(path), "utf8");
  const bundled = await build({
    entryPoints: [here("page/page.ts")],
    bundle: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  const script = "text/javascript; charset=utf-8";
  const html = "text/html; charset=utf-8";
  return {
    "/": { type: html, text: await text("page/index.html") },
    "/favicon.ico": { type: "image/x-icon", text: "" },
    "/page.css": { type: "text/css; charset=utf-8", text: await text("page/page.css") },
    "/page.js": { type: script, text: bundled.outputFiles[0]?.text ?? "" },
    "/msal-browser.js": { type: script, text: await text(`${MSAL}msal-browser.min.js`) },
    // The window of a sign-in ends here, and MSAL reads its address.
    "/redirect.html": { type: html, text: blank("Returning", "<p>Returning…</p>") },
    "/consented.js": { type: script, text: "close();" },
    "/consented": {
      type: html,
      text: blank("Done", '<p>You can close this window.</p><script src="/consented.js"></script>'),
    },
  };
}

function blank(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><body>${body}</body></html>`;
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, {
    "content-type": type,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    // Windows that this page opens must stay in its reach until they close, so no cross-origin-opener-policy.
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self' http://localhost:* http://127.0.0.1:*; base-uri 'none'; frame-ancestors 'none'",
  });
  response.end(text);
}

/** To the authority and back, with its own host name, so that it answers as if it had been called directly. */
function passToAuthority(authorityHost: string, ca: string) {
  const { hostname, port, host, origin } = new URL(authorityHost);
  return (request: IncomingMessage, response: ServerResponse): void => {
    const { method = "GET", url: path = "/", headers } = request;
    const door = `http://${headers.host}`;
    const options = { hostname, port, method, path, ca, headers: { ...headers, host } };
    const passed = secureRequest(options, (answer) => {
      const { location, ...rest } = answer.headers;
      const back = location?.startsWith(origin) ? door + location.slice(origin.length) : location;
      response.writeHead(answer.statusCode ?? 502, {
        ...rest,
        ...(back !== undefined && { location: back }),
      });
      answer.pipe(response);
    });
    passed.once("error", () => response.destroy());
    response.once("close", () => passed.destroy());
    request.pipe(passed);
  };
}

async function listening(server: Server, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 10_000) throw new Error("too long");
  }
  return text;
}
