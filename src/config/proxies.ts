/** Reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case, once at the start. */

import type { ConfigurationFault } from "../errors.ts";
import { Secret } from "../foundation/secret.ts";
import type { ProxyOptions, ProxyServer } from "../outbound/contract.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where both cases are set the lower one counts, as in curl; set to nothing is unset. NO_PROXY is a list with commas
 * or blanks between its entries; see `createProxyRules` for their forms.
 */
export function readProxies(env: Environment, faults: ConfigurationFault[]): ProxyOptions | undefined {
  const named = (name: string) =>
    [name.toLowerCase(), name].find((one) => env[one] !== undefined && env[one].trim() !== "");
  const server = (name: string) => {
    const variable = named(name);
    return variable === undefined ? undefined : readServer(variable, env[variable] ?? "", faults);
  };
  const http = server("HTTP_PROXY");
  const https = server("HTTPS_PROXY");
  if (http === undefined && https === undefined) return undefined;
  const exceptions = (env[named("NO_PROXY") ?? ""] ?? "").split(/[\s,]+/).filter((entry) => entry !== "");
  return { http, https, exceptions };
}

/** No fault quotes the value: it may hold a password. */
function readServer(path: string, value: string, faults: ConfigurationFault[]): ProxyServer | undefined {
  const written = value.trim();
  // As curl and others read it: a proxy without a scheme is spoken to in clear text.
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(written) ? written : `http://${written}`;
  const fault = (problem: string) => void faults.push({ path, problem });
  if (!URL.canParse(text)) return fault("must be the URL of a proxy, such as http://proxy.example:3128");
  const { protocol, hostname, port, pathname, search, hash, username, password } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:")
    return fault("must begin with http:// or https://; other kinds of proxies are not supported");
  if (pathname.length > 1 || search + hash !== "")
    return fault("must hold neither a path nor a query; percent-encode /, ? and # in a password");
  try {
    const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    const isTls = protocol === "https:";
    return {
      isTls,
      hostname: hostname.replace(/^\[|\]$/g, ""),
      port: Number(port || (isTls ? 443 : 80)),
      // RFC 7617 §2.1: the user information in UTF-8, as proxies expect it that name no other encoding.
      authorization:
        user === ":" ? undefined : new Secret(`Basic ${Buffer.from(user, "utf8").toString("base64")}`),
    };
  } catch {
    return fault("holds user information that is not percent-encoded; write % as %25");
  }
}
