/** Requests to everything outside the APIs (Entra, its keys, token platforms), by way of the environment's proxies. */

import { type Agent, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { type AgentOptions, Agent as HttpsAgent, request as requestHttps } from "node:https";
import type { Fetch, FetchAnswer } from "../foundation/bounded-fetch.ts";
import { createProxyAgent } from "./agent.ts";
import type { ProxyFor } from "./contract.ts";

export interface OutboundFetch {
  readonly fetch: Fetch;
  /** Closes the connections that are kept alive. */
  close(): void;
}

/** How long a connection is kept without a request, ms: servers that do not say keep theirs for 5 s or longer. */
const IDLE_MS = 4_000;

/** An answer is read as it comes: unpacking could make megabytes of a few kilobytes, and JSON of this size needs no packing. */
const DEFAULT_FIELDS = { accept: "*/*", "accept-encoding": "identity", "user-agent": "obo-gateway" };

/**
 * Sends by node:http, and not by the global `fetch`: using that for the first time loads Node's own copy of undici with its
 * parser, streams and headers (see docs/performance.md). Callers bound each request in time and size; see `boundedFetch`.
 *
 * @param options.ca Certificate authorities in PEM to trust instead of the system's, for tests; production sets NODE_EXTRA_CA_CERTS.
 */
export function createOutboundFetch(options: {
  readonly proxyFor: ProxyFor;
  readonly ca?: string | undefined;
}): OutboundFetch {
  const { proxyFor, ca } = options;
  const settings: AgentOptions = {
    keepAlive: true,
    timeout: IDLE_MS,
    // Said aloud, because the environment (NODE_TLS_REJECT_UNAUTHORIZED) could otherwise say no.
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca }),
  };
  const direct = { http: new HttpAgent(settings), https: new HttpsAgent(settings) };
  /** By origin: as many as there are hosts in the configuration. */
  const proxied = new Map<string, Agent>();

  function agentFor(url: URL): Agent {
    const proxy = proxyFor(url);
    if (proxy === undefined) return url.protocol === "https:" ? direct.https : direct.http;
    const agent = proxied.get(url.origin) ?? createProxyAgent(proxy, url, settings);
    proxied.set(url.origin, agent);
    return agent;
  }

  return {
    fetch(address, { method, headers, body, signal }) {
      const url = new URL(address);
      const request = url.protocol === "https:" ? requestHttps : requestHttp;
      const asked = { method, headers: { ...DEFAULT_FIELDS, ...headers }, agent: agentFor(url), signal };
      return new Promise((resolve, reject) => {
        const sent = request(url, asked, (response) => resolve(answerOf(response)));
        sent.on("error", reject).end(body);
      });
    },
    close() {
      for (const agent of [direct.http, direct.https, ...proxied.values()]) agent.destroy();
    },
  };
}

function answerOf(response: IncomingMessage): FetchAnswer {
  const { statusCode = 0, headers } = response;
  const values = new Map(Object.entries(headers).map(([name, value]) => [name, String(value)]));
  return {
    status: statusCode,
    headers: {
      get: (name) => values.get(name.toLowerCase()) ?? null,
      [Symbol.iterator]: () => values.entries(),
    },
    body: wholeBody(response),
  };
}

/** @throws when the answer is cut, or in a content coding that was not asked for. */
async function* wholeBody(response: IncomingMessage): AsyncGenerator<Uint8Array> {
  const { "content-encoding": coding = "identity" } = response.headers;
  if (coding.toLowerCase() !== "identity") {
    response.destroy();
    throw new Error("the answer is in a content coding that was not asked for");
  }
  // Throws by itself where the answer is cut.
  yield* response;
}
