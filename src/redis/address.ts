/** The address of a Redis: one server, a cluster, or a master that sentinels know. */

import { Secret } from "../foundation/secret.ts";

export interface RedisAddress {
  readonly topology: "single" | "cluster" | "sentinel";
  readonly tls: boolean;
  /** The server; members of the cluster to begin with; or the sentinels. Never empty. */
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string;
  readonly password?: Secret;
  readonly database: number;
  /** Name under which the sentinels know the master. */
  readonly master?: string;
}

const SHAPE =
  /^redis(?<tls>s)?(?:\+(?<topology>cluster|sentinel))?:\/\/(?:(?<credentials>.*)@)?(?<nodes>[^/?#@]+)(?:\/(?<path>[^?#@]*))?$/;
const NODE = /^(?:\[(?<v6>[\da-fA-F:.]+)\]|(?<name>[A-Za-z0-9._-]+))(?::(?<port>\d{1,5}))?$/;
const DATABASE = /^\d{1,4}$/;

/**
 * Reads `redis://[[user]:password@]host[:port][/database]`, with `rediss` for TLS. Two forms are ours, for URLs know
 * one host only: `rediss+cluster://…@host:port,host:port` and `redis+sentinel://…@host:port,host:port/master[/database]`.
 * A password may hold `/` and `=` as they are, as access keys of Azure do; other marks percent-encoded.
 *
 * @returns undefined for anything else; `describeAddressProblem` says why.
 */
export function parseRedisAddress(text: string): RedisAddress | undefined {
  const parts = SHAPE.exec(text)?.groups;
  if (parts === undefined) return undefined;
  const topology = (parts.topology ?? "single") as RedisAddress["topology"];
  const nodes = (parts.nodes ?? "").split(",").map((node) => parseNode(node, topology));
  const credentials = parseCredentials(parts.credentials);
  const place = parsePath(parts.path ?? "", topology);
  if (credentials === undefined || place === undefined) return undefined;
  if (!nodes.every((node) => node !== undefined) || (topology === "single" && nodes.length > 1))
    return undefined;
  return { topology, tls: parts.tls !== undefined, nodes, ...credentials, ...place };
}

function parseNode(
  text: string,
  topology: RedisAddress["topology"],
): RedisAddress["nodes"][number] | undefined {
  const { v6, name, port } = NODE.exec(text)?.groups ?? {};
  const host = v6 ?? name;
  const number = Number(port ?? (topology === "sentinel" ? 26_379 : 6_379));
  return host === undefined || number < 1 || number > 65_535 ? undefined : { host, port: number };
}

function parseCredentials(text: string | undefined): Pick<RedisAddress, "username" | "password"> | undefined {
  if (text === undefined) return {};
  const colon = text.indexOf(":");
  const name = decode(colon === -1 ? text : text.slice(0, colon));
  const password = colon === -1 ? "" : decode(text.slice(colon + 1));
  if (name === undefined || password === undefined) return undefined;
  return {
    ...(name !== "" && { username: name }),
    ...(password !== "" && { password: new Secret(password) }),
  };
}

function parsePath(
  path: string,
  topology: RedisAddress["topology"],
): Pick<RedisAddress, "database" | "master"> | undefined {
  if (topology === "cluster") return path === "" ? { database: 0 } : undefined;
  if (topology === "single")
    return path === "" || DATABASE.test(path) ? { database: Number(path) } : undefined;
  const [master = "", database = "0", ...rest] = path.split("/");
  if (!/^[\w.-]+$/.test(master) || !DATABASE.test(database) || rest.length > 0) return undefined;
  return { master, database: Number(database) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    // A stray percent sign; the caller names the fault.
    return undefined;
  }
}

/** Whether a host is this machine, so that nothing goes over a network. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

const SCHEME = /^([a-z][a-z\d+.-]*):\/\//i;
const FORM = "write rediss://[user:password@]host[:port]";

/**
 * The reason why a text is no address, and the form to write instead. It quotes nothing of the text, which may hold a
 * password.
 */
export function describeAddressProblem(text: string): string {
  const trimmed = text.trim();
  if (trimmed !== text || /^["'].*["']$/s.test(trimmed))
    return `has blanks or quotation marks around it; ${FORM}`;
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase();
  if (/(?:^|,)\s*(?:password|ssl|abortConnect)\s*=/i.test(text))
    return "is a connection string of Azure's portal, which is for .NET; write rediss://:<access key>@<host>:<port>, with = and / of the key as they are";
  if (scheme === undefined)
    return NODE.test(text)
      ? "lacks its scheme; write rediss:// in front of the host, or redis:// for a server without TLS"
      : `is no URL; ${FORM}`;
  if (!/^rediss?(?:\+(?:cluster|sentinel))?$/.test(scheme)) return "must be a redis:// or rediss:// URL";
  const [, topology = "single"] = scheme.split("+");
  const rest = text.slice(text.indexOf("://") + 3);
  const at = rest.lastIndexOf("@");
  const credentials = at < 0 ? undefined : rest.slice(0, at);
  if (parseCredentials(credentials) === undefined)
    return "has a user name or password in which % stands for itself; write it as %25 (and @ as %40, ? as %3F, # as %23)";
  const [nodes = "", ...path] = rest.slice(at + 1).split("/");
  if (/[?#]/.test(rest.slice(at + 1)))
    return "has parameters behind ? or #; the gateway takes none: TLS follows from the scheme, the database from /<number>; in a password write ? as %3F and # as %23";
  if (topology === "single" && nodes.includes(","))
    return "names several servers; write redis+cluster:// or redis+sentinel:// (rediss with TLS) for those";
  if (nodes.split(",").some((node) => parseNode(node, topology as RedisAddress["topology"]) === undefined))
    return "names a host or port that cannot be one; write host or host:port, an IPv6 address in brackets, a port from 1 to 65535";
  if (topology === "sentinel" && (path[0] ?? "") === "")
    return "lacks the master's name; write redis+sentinel://host:port,host:port/<master>";
  if (topology === "cluster") return "names a database, which a cluster does not have";
  return "names a database that is no number from 0 to 9999";
}
