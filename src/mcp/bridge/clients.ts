/** Which clients sign in through the gateway, and where their codes may be sent. */

import { OAuthRefusal } from "./oauth.ts";

export interface ClientOptions {
  /** Client id of the registration that all of them share. */
  readonly clientId: string;
  /** By the URL of the client's metadata document. */
  readonly clients: Readonly<Record<string, { readonly redirectUris?: readonly string[] | undefined }>>;
  readonly redirectUris: readonly string[];
}

export interface Clients {
  /**
   * The client id as this gateway compares it.
   *
   * @throws {OAuthRefusal} `invalid_client`. A URL that is not listed is refused and never fetched: a caller could
   * otherwise lead the gateway to any address (Client ID Metadata Documents, security considerations).
   */
  identify(clientId: string): string;
  /** Whether a code of this client may be sent there. */
  allowsRedirect(client: string, redirectUri: string): boolean;
  /** Whether a client that registers may have its codes sent there. */
  registersRedirect(redirectUri: string): boolean;
}

export function createClients({ clientId, clients, redirectUris }: ClientOptions): Clients {
  const all = compile(redirectUris);
  const known = new Map(
    Object.entries(clients).map(([url, { redirectUris: listed }]) => [
      url,
      listed === undefined ? all : compile(listed),
    ]),
  );
  return {
    identify(text) {
      if (known.has(text)) return text;
      if (text.toLowerCase() === clientId.toLowerCase()) return clientId;
      throw new OAuthRefusal(
        "invalid_client",
        "client_unknown",
        /^https:/i.test(text)
          ? "The client is not among those that this gateway knows by the URL of their metadata document."
          : "The client is not known to this gateway.",
      );
    },
    allowsRedirect: (client, redirectUri) => matchesAny(known.get(client) ?? all, redirectUri),
    registersRedirect: (redirectUri) => matchesAny(all, redirectUri),
  };
}

interface RedirectPattern {
  readonly origin: string;
  readonly segments: readonly string[];
}

/** Longest redirect URI that is looked at. */
const MOST_REDIRECT_LENGTH = 2_048;
const LOOPBACK_HOSTS: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

function compile(patterns: readonly string[]): readonly RedirectPattern[] {
  return patterns.map((pattern) => partsOf(new URL(pattern)));
}

/** RFC 8252 §7.3: a native client listens on any free port of the loopback interface. */
function partsOf(url: URL): RedirectPattern {
  const isLoopback = url.protocol === "http:" && LOOPBACK_HOSTS.has(url.hostname);
  return {
    origin: `${url.protocol}//${isLoopback ? url.hostname : url.host}`,
    segments: url.pathname === "" || url.pathname === "/" ? [] : url.pathname.split("/").slice(1),
  };
}

function matchesAny(patterns: readonly RedirectPattern[], text: string): boolean {
  const url = parseRedirect(text);
  if (url === undefined) return false;
  const { origin, segments } = partsOf(url);
  return patterns.some((pattern) => pattern.origin === origin && matchesPath(pattern.segments, segments));
}

/**
 * A redirect URI is compared as the parsed URL, so it must be written as a parser would write it: another spelling
 * could mean another place to the browser. A query is refused, since clients keep their state in `state`.
 */
function parseRedirect(text: string): URL | undefined {
  if (text.length > MOST_REDIRECT_LENGTH || !/^[\x21-\x7e]+$/.test(text) || /[\\?#*"'<>`{}|^]/.test(text))
    return undefined;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") return undefined;
  return url.href === text || url.href === `${text}/` ? url : undefined;
}

function matchesPath(pattern: readonly string[], path: readonly string[]): boolean {
  const isOpen = pattern.at(-1) === "**";
  const fixed = isOpen ? pattern.slice(0, -1) : pattern;
  if (path.length < fixed.length || (!isOpen && path.length > fixed.length)) return false;
  const rest = path.slice(fixed.length);
  return fixed.every((segment, index) => matchesSegment(segment, path[index] ?? "")) && rest.every(isPlain);
}

function matchesSegment(pattern: string, segment: string): boolean {
  return pattern === "*" ? segment !== "" && isPlain(segment) : pattern === segment;
}

/** A wildcard stands for plain text: `%2f` and `;` are read differently by different servers. */
function isPlain(segment: string): boolean {
  return /^[A-Za-z0-9._~-]*$/.test(segment);
}
