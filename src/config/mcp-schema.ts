/** The part of gateway.yaml that lets clients of the Model Context Protocol sign in through the gateway. */

import { guid } from "./values.ts";
import { z } from "./zod.ts";

/** Schemes that run code or read files where a browser follows them. */
const DANGEROUS_SCHEMES = /^(?:javascript|data|vbscript|file|blob|about|view-source|filesystem):/i;
const LOOPBACK_HOSTS: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

function isRedirectPattern(value: string): boolean {
  if (!/^[\x21-\x7e]+$/.test(value) || /[\\#?"'<>]/.test(value) || DANGEROUS_SCHEMES.test(value))
    return false;
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, username, password } = new URL(value);
  if (hostname.includes("*") || username + password !== "") return false;
  if (protocol === "https:") return hostname !== "";
  if (protocol === "http:") return LOOPBACK_HOSTS.has(hostname);
  return /^[a-z][a-z0-9+.-]*:\/{1,2}[^/*]/i.test(value);
}

/**
 * RFC 8252 §7: loopback addresses (whose port is free), https, or a scheme of the client's own. Plain http elsewhere
 * would show the code to the network.
 */
const redirectPattern = z
  .string()
  .refine(
    isRedirectPattern,
    "must be an https URL, an http URL of localhost, or a URL of a client's own scheme, without query and fragment; * is one path segment, ** at the end any number",
  );

/** Client ID Metadata Documents: the id is the document's https URL, with a path and without a fragment. */
const clientIdUrl = z.string().refine((value) => {
  if (!/^https:\/\/[\x21-\x7e]+$/.test(value) || /[#\\"]/.test(value) || !URL.canParse(value)) return false;
  const { href, pathname, username, password } = new URL(value);
  return href === value && pathname !== "/" && username + password === "";
}, "must be the https URL of a client's metadata document, such as https://client.example/oauth/client.json");

export const mcp = z
  .strictObject({
    clientId: guid.describe(
      "Application (client) id of the public client registration that MCP clients sign in with; azure.sh --mcp creates it.",
    ),
    clients: z
      .record(
        clientIdUrl,
        z.strictObject({
          redirectUris: z
            .array(redirectPattern)
            .min(1)
            .optional()
            .describe("Redirect URIs of this client alone, in place of mcp.redirectUris."),
        }),
      )
      .default({})
      .describe(
        "Clients known by the URL of their metadata document (CIMD), which the gateway never fetches. Such a URL that is not listed is refused.",
      ),
    redirectUris: z
      .array(redirectPattern)
      .min(1)
      .default(["http://localhost/**", "http://127.0.0.1/**"])
      .describe(
        "Where a code may be sent. * is one path segment, ** at the end any number; the port of a loopback address is any. The registration has to list them too.",
      ),
    register: z
      .boolean()
      .default(false)
      .describe(
        "Answers dynamic client registration (RFC 7591) with clientId, for clients that know no other way; nothing is stored.",
      ),
  })
  .describe("Sign-in of MCP clients through the gateway. Left out: none of its endpoints exists.");
