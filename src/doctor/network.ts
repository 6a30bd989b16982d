/** Puts the error of a failed request into words: why no answer came, and what to do. */

import { FetchFailure } from "../foundation/bounded-fetch.ts";

interface Silence {
  readonly finding: string;
  readonly fix: string;
}

const DNS: Silence = {
  finding: "its name cannot be resolved",
  fix: "check the spelling of the host, and DNS: a network policy has to allow port 53",
};
const REFUSED: Silence = {
  finding: "the connection is refused",
  fix: "check host and port, and whether anything listens there",
};
const RESET: Silence = {
  finding: "the connection is cut",
  fix: "look at firewalls and proxies on the way: one of them ends the connection",
};
const TIMEOUT: Silence = {
  finding: "no answer comes in time",
  fix: "allow outgoing connections to it: firewall, network policy, route table, proxy",
};
const TLS: Silence = {
  finding: "its TLS certificate is not trusted",
  fix: "name the private certificate authority (of the server, or of a proxy on the way that opens TLS) in NODE_EXTRA_CA_CERTS (a PEM file); never switch verification off",
};
const TOO_LARGE: Silence = {
  finding: "the answer is far too large",
  fix: "find out what answers instead: a proxy or a captive portal",
};
const PROXY_UNREACHABLE: Silence = {
  finding: "the proxy that the environment names cannot be reached",
  fix: "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and the way to the proxy",
};
const PROXY_REFUSED: Silence = {
  finding: "the proxy that the environment names does not open a connection to it",
  fix: "check user and password in the proxy's URL (percent-encoded), and the proxy's rules for this host and port",
};
const UNKNOWN: Silence = {
  finding: "the connection fails",
  fix: "try the same address with curl -v from this machine",
};

const BY_CODE: Readonly<Record<string, Silence>> = {
  ENOTFOUND: DNS,
  EAI_AGAIN: DNS,
  dns: DNS,
  ECONNREFUSED: REFUSED,
  refused: REFUSED,
  ECONNRESET: RESET,
  EPIPE: RESET,
  UND_ERR_SOCKET: RESET,
  reset: RESET,
  ETIMEDOUT: TIMEOUT,
  UND_ERR_CONNECT_TIMEOUT: TIMEOUT,
  timeout: TIMEOUT,
  connect_timeout: TIMEOUT,
  tls: TLS,
  ERR_PROXY_UNREACHABLE: PROXY_UNREACHABLE,
  proxy_unreachable: PROXY_UNREACHABLE,
  ERR_PROXY_REFUSED: PROXY_REFUSED,
  proxy_refused: PROXY_REFUSED,
  too_large: TOO_LARGE,
};

/** By a label of ours, or by a system error's code. */
export function silenceOf(code: string): Silence {
  return BY_CODE[code] ?? (/CERT|SSL|TLS|UNABLE_TO_|SELF_SIGNED/.test(code) ? TLS : UNKNOWN);
}

/** By an error and its causes: `fetch` wraps the error that has the code. */
export function silenceOfError(error: unknown): Silence {
  for (
    let current = error, depth = 0;
    depth < 8 && typeof current === "object" && current !== null;
    depth++
  ) {
    const { code, kind, cause } = current as { code?: unknown; kind?: unknown; cause?: unknown };
    if (current instanceof FetchFailure && kind !== "network") return silenceOf(String(kind));
    if (typeof code === "string" && silenceOf(code) !== UNKNOWN) return silenceOf(code);
    current = cause;
  }
  return UNKNOWN;
}
