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
 * @returns undefined for anything else. Nothing of the text, which may hold a password, is ever quoted.
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
