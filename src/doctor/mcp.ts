/** Checks sign-in of MCP clients: its keys, its documents as a client would read them, and the registration that clients share. */

import type { GatewayConfig } from "../config/load.ts";
import { type BoundedResponse, boundedFetch } from "../foundation/bounded-fetch.ts";
import { type JsonObject, parseJsonObject } from "../foundation/json.ts";
import { mcpRoutes } from "../gateway.ts";
import { quote } from "./commands.ts";
import { ANSWER_LIMIT_MS, type Examination } from "./examination.ts";
import { silenceOfError } from "./network.ts";
import { type Check, fault, ok, skipped, type Verdict, warning } from "./verdict.ts";

const MAX_DOCUMENT_BYTES = 256 * 1024;

/** None where `mcp` is not configured. */
export function mcpChecks(examination: Examination): Check[] {
  const { mcp, http } = examination.config;
  const { publicUrl } = http;
  if (mcp === undefined || publicUrl === undefined) return [];
  return [
    { name: "mcp-keys", run: async () => checkKeys(examination.config) },
    ...mcpRoutes(examination.config).map(
      ({ path }): Check => ({
        name: "mcp-documents",
        about: path,
        run: () => checkDocuments(path, publicUrl, examination),
      }),
    ),
    ...probedRedirects(mcp.redirectUris).map(
      (redirectUri): Check => ({
        name: "mcp-registration",
        about: redirectUri,
        run: () => checkRegistration(redirectUri, mcp.clientId, examination),
      }),
    ),
  ];
}

function checkKeys({ exchange }: GatewayConfig): Verdict {
  if (exchange.cacheKeys.length > 0 || exchange.cacheKeysFile !== undefined)
    return ok("handles and refresh tokens outlive the process");
  return warning(
    "without TOKEN_CACHE_KEYS, each process seals the refresh tokens of MCP clients under a key of its own: a restart signs every client out, and replicas open none of each other's",
    "set TOKEN_CACHE_KEYS for all replicas; make one key with: openssl rand -base64 32",
  );
}

/** What went wrong on the way from one document to the next. */
class Finding extends Error {
  readonly verdict: Verdict;

  constructor(verdict: Verdict) {
    super(verdict.finding);
    this.verdict = verdict;
  }
}

async function checkDocuments(path: string, publicUrl: string, examination: Examination): Promise<Verdict> {
  const base = publicUrl.replace(/\/+$/, "");
  const { origin, pathname } = new URL(base);
  const prefix = pathname === "/" ? "" : pathname;
  try {
    const resource = await documentAt(
      `${origin}/.well-known/oauth-protected-resource${prefix}${path}`,
      examination,
    );
    expectMember(resource, "resource", base + path);
    const [issuer] = Array.isArray(resource.authorization_servers) ? resource.authorization_servers : [];
    if (issuer !== publicUrl)
      throw new Finding(
        fault(
          `the document of ${path} names ${String(issuer)} as authorization server instead of ${publicUrl}`,
          `let ${origin}/.well-known/ lead to this gateway, and no other server`,
        ),
      );
    const server = await documentAt(`${origin}/.well-known/oauth-authorization-server${prefix}`, examination);
    expectMember(server, "issuer", publicUrl);
    expectMember(server, "authorization_endpoint", `${base}/oauth2/authorize`);
    expectMember(server, "token_endpoint", `${base}/oauth2/token`);
    return ok(`a client of ${base}${path} finds where to sign in`);
  } catch (error) {
    if (error instanceof Finding) return error.verdict;
    throw error;
  }
}

function expectMember(document: JsonObject, name: string, wanted: string): void {
  if (document[name] === wanted) return;
  throw new Finding(
    fault(
      `${name} is ${JSON.stringify(document[name])} where clients expect ${JSON.stringify(wanted)}`,
      "set http.publicUrl to the address under which clients reach the gateway, letter by letter, and run the doctor beside the gateway that has that setting",
    ),
  );
}

async function documentAt(url: string, { fetch }: Examination): Promise<JsonObject> {
  const commands = [`curl -sv ${quote(url)}`];
  let answer: BoundedResponse;
  try {
    answer = await boundedFetch(fetch, url, {
      headers: { accept: "application/json", "mcp-protocol-version": "2025-11-25" },
      timeoutMs: ANSWER_LIMIT_MS,
      maxBytes: MAX_DOCUMENT_BYTES,
    });
  } catch (error) {
    throw new Finding(
      warning(
        `${url} cannot be read: ${silenceOfError(error).finding}`,
        "if the gateway does not run yet, run the doctor again beside it with --skip ports; otherwise correct http.publicUrl, or what stands in front of the gateway",
        { commands },
      ),
    );
  }
  const document = answer.status === 200 ? parseJsonObject(answer.text) : undefined;
  if (document === undefined)
    throw new Finding(
      fault(
        `${url} answers ${answer.status} and no document, so that MCP clients find no place to sign in`,
        "let the proxy in front of the gateway pass /.well-known/ and /oauth2/ on to it, besides the routes",
        { commands },
      ),
    );
  if (answer.headers.get("access-control-allow-origin") !== "*")
    throw new Finding(
      warning(
        `${url} lacks access-control-allow-origin: *, so that MCP clients in browsers cannot read it`,
        "let the proxy in front of the gateway pass the field on",
        { commands },
      ),
    );
  return document;
}

/** Addresses that stand for the patterns: Entra compares whole addresses, and leaves out the port of localhost alone. */
function probedRedirects(patterns: readonly string[]): readonly string[] {
  return [
    ...new Set(
      patterns.flatMap((pattern) => {
        if (!pattern.includes("*")) return [pattern];
        return pattern.startsWith("http://localhost") ? ["http://localhost"] : [];
      }),
    ),
  ];
}

/**
 * Asks Entra's authorization endpoint for a sign-in without any page (`prompt=none`). Where client and redirect URI are
 * registered, the answer goes there, with an error for want of a session; otherwise a page says what is wrong.
 */
async function checkRegistration(
  redirectUri: string,
  clientId: string,
  { config, authority, fetch }: Examination,
): Promise<Verdict> {
  const [only = "organizations", ...more] = config.identity.tenants;
  const tenant = only === "*" || more.length > 0 ? "organizations" : only;
  const { appIdUri } = config.exchange.consent;
  const scopes = mcpRoutes(config).flatMap((route) => route.scopes.map((scope) => `${appIdUri}/${scope}`));
  const url = new URL(authority.authorizeEndpoint(tenant));
  for (const [name, value] of Object.entries({
    client_id: clientId,
    response_type: "code",
    redirect_uri: redirectUri,
    scope: [...new Set(scopes)].join(" "),
    prompt: "none",
    // Of a verifier that does not exist: no code will come.
    code_challenge: "A".repeat(43),
    code_challenge_method: "S256",
  }))
    url.searchParams.set(name, value);
  let answer: BoundedResponse;
  try {
    answer = await boundedFetch(fetch, url.href, {
      timeoutMs: ANSWER_LIMIT_MS,
      maxBytes: MAX_DOCUMENT_BYTES,
    });
  } catch (error) {
    return skipped(`Entra's authorization endpoint cannot be asked: ${silenceOfError(error).finding}`);
  }
  const show = `az ad app show --id ${clientId} --query ${quote("{publicClient:publicClient,web:web,spa:spa,fallback:isFallbackPublicClient,permissions:requiredResourceAccess}")}`;
  const location = answer.headers.get("location") ?? "";
  const sentBack = location.startsWith(redirectUri);
  const text = sentBack ? (new URL(location).searchParams.get("error_description") ?? "") : answer.text;
  const number = /AADSTS(\d{5,7})/.exec(text)?.[1];
  if (sentBack && (number === undefined || SESSION_MISSING.has(number)))
    return ok(`${clientId} may send codes to ${redirectUri}`);
  const why = WRONG[number ?? ""];
  if (why === undefined)
    return warning(
      `Entra answers the sign-in of ${clientId} with ${number === undefined ? `status ${answer.status}` : `AADSTS${number}`}`,
      "compare the registration of the public client; docker/setup/azure.sh --mcp sets it up",
      { commands: [show] },
    );
  return fault(
    `AADSTS${number}: ${why(clientId, redirectUri)}`,
    "run docker/setup/azure.sh --mcp, or correct the registration by hand",
    { commands: [show] },
  );
}

/** Client and redirect URI are right, and no user is signed in. */
const SESSION_MISSING: ReadonlySet<string> = new Set(["50058", "16000", "65001", "50076", "50079"]);

const WRONG: Readonly<Record<string, (clientId: string, redirectUri: string) => string>> = {
  "700016": (clientId) => `the tenant does not know the application ${clientId} of mcp.clientId`,
  "90009": (clientId) => `${clientId} asks for a token for itself; mcp.clientId must be another registration`,
  "50011": (clientId, redirectUri) => `${redirectUri} is not a redirect URI of ${clientId}`,
  "500113": (clientId) => `${clientId} has no redirect URI`,
  "650053": (clientId) => `${clientId} asks for a scope that the gateway's registration does not expose`,
  "650057": (clientId) => `the registration of ${clientId} does not list the gateway among its permissions`,
};
