/** The wire to AKS' identity-binding proxy: a token request over TLS with a name and a CA of its own. */

import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { ConfigurationError } from "../errors.ts";
import type { TokenProxyOptions } from "./contract.ts";

const MAX_BYTES = 64 * 1024;

export interface ProxyAnswer {
  readonly status: number;
  readonly text: string;
}

/**
 * Makes a function that sends a form to the path of a token endpoint, at the proxy in the authority's place: the
 * path is appended to the proxy's own (as @azure/identity 4.14 does it; not run against a real cluster).
 *
 * @throws {ConfigurationError} when the options cannot mean what they say; the function's promise rejects with one
 * when no whole answer came.
 */
export function createTokenProxy(
  options: TokenProxyOptions,
): (tokenEndpoint: string, form: URLSearchParams) => Promise<ProxyAnswer> {
  const base = readUrl(options.url);
  if (options.caFile && options.caData)
    throw fault(
      "AZURE_KUBERNETES_CA_DATA",
      "is set beside AZURE_KUBERNETES_CA_FILE; only one of them may be",
    );

  return async (tokenEndpoint, form) => {
    const ca = await readCa(options);
    const { pathname, search } = new URL(tokenEndpoint);
    const target = new URL(base.href);
    target.pathname = base.pathname.replace(/\/$/, "") + pathname;
    target.search = search;
    return send(target, form.toString(), {
      ca,
      servername: options.sniName || undefined,
      timeoutMs: options.timeoutMs,
    });
  };
}

function send(
  target: URL,
  body: string,
  tls: {
    readonly ca: string | undefined;
    readonly servername: string | undefined;
    readonly timeoutMs: number;
  },
): Promise<ProxyAnswer> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(tls.timeoutMs);
    const failed = (cause: unknown) =>
      reject(
        fault(
          "AZURE_KUBERNETES_TOKEN_PROXY",
          `${target.origin} gave no answer (${labelOf(cause, signal)})`,
          cause,
        ),
      );
    const outgoing = request(
      target,
      {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
        // Asked for a few times a day: no connection is kept, so none outlives its CA.
        agent: false,
        signal,
        ca: tls.ca,
        servername: tls.servername,
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        let received = 0;
        incoming.on("data", (chunk: Buffer) => {
          received += chunk.byteLength;
          if (received > MAX_BYTES) outgoing.destroy(new Error("answer too large"));
          chunks.push(chunk);
        });
        incoming.on("error", failed);
        incoming.on("end", () =>
          resolve({ status: Number(incoming.statusCode), text: Buffer.concat(chunks).toString("utf8") }),
        );
      },
    );
    outgoing.on("error", failed);
    outgoing.end(body);
  });
}

function readUrl(text: string): URL {
  const setting = "AZURE_KUBERNETES_TOKEN_PROXY";
  if (!URL.canParse(text) || new URL(text).protocol !== "https:") throw fault(setting, "is not an https URL");
  const url = new URL(text);
  if (/[?#]/.test(text) || url.username !== "" || url.password !== "")
    throw fault(setting, "must hold neither query nor fragment nor user information");
  return url;
}

async function readCa({ caFile, caData }: TokenProxyOptions): Promise<string | undefined> {
  if (!caFile) return caData || undefined;
  return readFile(caFile, "utf8").catch((cause: unknown) => {
    throw fault("AZURE_KUBERNETES_CA_FILE", `${caFile} cannot be read`, cause);
  });
}

/** Node's error codes tell a name that does not resolve from a certificate that is not trusted. */
function labelOf(cause: unknown, signal: AbortSignal): string {
  if (signal.aborted) return "timeout";
  return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "network";
}

function fault(path: string, problem: string, cause?: unknown): ConfigurationError {
  return new ConfigurationError([{ path, problem }], { cause });
}
