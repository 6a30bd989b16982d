/** Checks the environment's proxies: which destination takes which of them, and what the proxy answers. */

import { request as requestHttp } from "node:http";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { GatewayConfig } from "../config/load.ts";
import { createProxyAgent } from "../outbound/agent.ts";
import { openTunnel, ProxyRefusal, ProxyUnreachable } from "../outbound/connector.ts";
import type { ProxyOptions, ProxyServer } from "../outbound/contract.ts";
import { createProxyRules, unreadExceptions } from "../outbound/proxies.ts";
import { ANSWER_LIMIT_MS, type Examination } from "./examination.ts";
import { silenceOfError } from "./network.ts";
import { type Check, fault, ok, type Verdict, warning } from "./verdict.ts";

/** One check for each destination; only one where the environment names no proxy. */
export function proxyChecks(examination: Examination): Check[] {
  const { config, variables } = examination;
  const { proxies } = config;
  const unread = variables.has("ALL_PROXY") || variables.has("all_proxy") ? [unreadAllProxy] : [];
  if (proxies === undefined)
    return [
      ...unread,
      {
        name: "proxy",
        run: async () => ok("neither HTTPS_PROXY nor HTTP_PROXY is set: every connection is direct"),
      },
    ];
  return [
    ...unread,
    ...unreadEntries(proxies),
    ...destinationsOf(examination).map(
      ([about, url]): Check => ({
        name: "proxy",
        about,
        run: () => checkDestination(url, proxies, examination),
      }),
    ),
  ];
}

const unreadAllProxy: Check = {
  name: "proxy",
  about: "ALL_PROXY",
  run: async () =>
    warning("ALL_PROXY is set, and the gateway does not read it", "set HTTPS_PROXY and HTTP_PROXY instead"),
};

function unreadEntries(proxies: ProxyOptions): Check[] {
  const entries = unreadExceptions(proxies);
  if (entries.length === 0) return [];
  return [
    {
      name: "proxy",
      about: "NO_PROXY",
      run: async () =>
        warning(
          `NO_PROXY holds entries without a meaning, which except nothing: ${entries.join(", ")}`,
          "write names (example.com, .example.com), addresses or networks (10.0.0.0/8); docs/networks.md lists the forms",
        ),
    },
  ];
}

/** What the gateway connects to by way of proxies. Signing keys are on Entra's host. */
function destinationsOf({ config, authority }: Examination): [about: string, url: URL][] {
  const { githubActions, azurePipelines } = config.credential;
  const named: (readonly [string, string | undefined])[] = [
    ["entra", authority.origin],
    ["github-actions", githubActions?.requestUrl],
    ["azure-pipelines", azurePipelines?.requestUri],
    ...Object.values(config.downstreamApis).map(({ name, baseUrl }) => [name, baseUrl] as const),
    ["traces", config.tracing?.exporters.includes("otlp") ? config.tracing.otlp.url : undefined],
  ];
  return named.flatMap(([about, url]) =>
    url !== undefined && URL.canParse(url) ? [[about, new URL(url)] as [string, URL]] : [],
  );
}

async function checkDestination(
  url: URL,
  proxies: ProxyOptions,
  { proxyFor, downstreamCa }: Examination,
): Promise<Verdict> {
  const proxy = proxyFor(url);
  if (proxy === undefined) return ok(`${url.origin} is connected to directly: ${whyDirect(url, proxies)}`);
  const way = { url, proxy, variable: variableOf(url), ca: downstreamCa };
  const facts = { destination: url.origin, proxy: addressOf(proxy) };
  try {
    const answer = url.protocol === "https:" ? await connectThrough(way) : await askThrough(way);
    return ok(`${url.origin} takes ${addressOf(proxy)}, which ${answer}`, { facts });
  } catch (error) {
    return explainFailure(error, way, facts);
  }
}

/** Why a destination takes no proxy although the environment names one. */
export function whyDirect(url: URL, proxies: ProxyOptions): string {
  const entry = proxies.exceptions.find(
    (one) => createProxyRules({ ...proxies, exceptions: [one] })(url) === undefined,
  );
  const withoutEntries = createProxyRules({ ...proxies, exceptions: [] })(url);
  if (withoutEntries !== undefined && entry !== undefined) return `the entry ${entry} of NO_PROXY excepts it`;
  const server = url.protocol === "https:" ? proxies.https : proxies.http;
  return server === undefined
    ? `${variableOf(url)} is not set`
    : "link-local addresses answer to this machine alone";
}

/** What to add to the advice where Entra gives no answer and no proxy is on the way to it; nothing elsewhere. */
export function proxyHint({ proxies }: GatewayConfig, url: URL): string {
  if (createProxyRules(proxies)(url) !== undefined) return "";
  return proxies === undefined || whyDirect(url, proxies).endsWith("is not set")
    ? `; where it can be reached by a proxy alone, set ${variableOf(url)}, and NO_PROXY for what is inside the network`
    : `; ${whyDirect(url, proxies)}: where it can be reached by the proxy alone, take that entry out`;
}

const variableOf = ({ protocol }: URL) => (protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY");

/** Without the user and password that the variable may hold. */
function addressOf({ isTls, hostname, port }: ProxyServer): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `${isTls ? "https" : "http"}://${host}:${port}`;
}

interface Way {
  readonly url: URL;
  readonly proxy: ProxyServer;
  /** The variable that names the proxy. */
  readonly variable: string;
  readonly ca: string | undefined;
}

/** A tunnel, and TLS inside it: a proxy that opens TLS shows a certificate of its own authority there. */
async function connectThrough({ url, proxy, ca }: Way): Promise<string> {
  const { protocol, port } = url;
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const socket = await new Promise<Socket>((resolve, reject) => {
    openTunnel(proxy, { protocol, hostname, port }, { timeoutMs: ANSWER_LIMIT_MS, ca }, (...result) => {
      const [error, opened] = result;
      if (error === null) resolve(opened as Socket);
      else reject(error);
    });
  });
  await new Promise<void>((resolve, reject) => {
    const tls = connectTls({
      socket,
      rejectUnauthorized: true,
      ...(/^[\d.]+$|:/.test(hostname) ? { host: hostname } : { servername: hostname }),
      ...(ca !== undefined && { ca }),
    });
    const settle = (settled: () => void) => {
      clearTimeout(timer);
      tls.destroy();
      settled();
    };
    const timer = setTimeout(() => settle(() => reject(timeout())), ANSWER_LIMIT_MS);
    tls.once("secureConnect", () => settle(resolve));
    tls.on("error", (error) => settle(() => reject(error)));
  });
  return "opens a tunnel (CONNECT)";
}

/** RFC 9112 §3.2.2: http:// destinations are asked for in absolute form. */
async function askThrough({ url, proxy }: Way): Promise<string> {
  const agent = createProxyAgent(proxy, url, {});
  try {
    const status = await new Promise<number>((resolve, reject) => {
      const request = requestHttp(url, { method: "HEAD", agent, timeout: ANSWER_LIMIT_MS }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on("timeout", () => request.destroy(timeout()));
      request.on("error", (error) => reject(new ProxyUnreachable(error)));
      request.end();
    });
    if (status === 407) throw new ProxyRefusal(status);
    return `passes requests on (status ${status})`;
  } finally {
    agent.destroy();
  }
}

const timeout = () => Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" });

function explainFailure(
  error: unknown,
  { url, proxy, variable }: Way,
  facts: Readonly<Record<string, string>>,
): Verdict {
  const [destination, address] = [url.origin, addressOf(proxy)];
  const commands = [`curl -sv -x "$${variable}" ${destination}`];
  if (error instanceof ProxyUnreachable) {
    const { finding } = silenceOfError(error.cause);
    return fault(
      `${destination} takes the proxy ${address}, which cannot be reached: ${finding}`,
      `check host, port and scheme of ${variable}; where ${destination} can be reached without a proxy, name its host in NO_PROXY`,
      { facts, commands },
    );
  }
  if (error instanceof ProxyRefusal) {
    const { status } = error;
    return fault(
      `the proxy ${address} answers ${status} to CONNECT for ${destination}: ${meaningOf(status)}`,
      fixFor(status, url, variable, proxy),
      { facts: { ...facts, status }, commands },
    );
  }
  const { finding, fix } = silenceOfError(error);
  return fault(`the proxy ${address} opens a tunnel, and ${destination} fails in it: ${finding}`, fix, {
    facts,
    commands,
  });
}

/** tinyproxy answers 401 where RFC 9110 §15.5.8 has 407. */
const wantsPassword = (status: number) => status === 407 || status === 401;

function meaningOf(status: number): string {
  if (wantsPassword(status)) return "it asks for user and password";
  if (status === 403 || status === 405) return "its rules do not allow this connection";
  if (status >= 500) return "it cannot reach the destination";
  return "it opens no tunnel";
}

function fixFor(status: number, { hostname, port }: URL, variable: string, proxy: ProxyServer): string {
  if (wantsPassword(status))
    return proxy.authorization === undefined
      ? `write user and password into ${variable}, percent-encoded: http://user:p%40ss@host:port`
      : `check user and password in ${variable}: @, :, / and % in them are percent-encoded`;
  const place = `${hostname}:${port || 443}`;
  if (status >= 500) return `let the proxy resolve and reach ${place}, or name the host in NO_PROXY`;
  return `let the proxy's rules allow CONNECT to ${place}, or name the host in NO_PROXY`;
}
