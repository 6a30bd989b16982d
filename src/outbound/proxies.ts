/** Decides which destinations are reached by way of a forward proxy: HTTP_PROXY, HTTPS_PROXY and NO_PROXY. */

import { BlockList, isIP } from "node:net";
import type { ProxyFor, ProxyOptions } from "./contract.ts";

/**
 * Link-local addresses, and Azure's address of the machine's own host: metadata and managed identity answer there, to
 * the machine that asks and to no proxy (Azure, "Azure Instance Metadata Service": requests must not be proxied).
 */
const THIS_MACHINE = new BlockList();
THIS_MACHINE.addSubnet("169.254.0.0", 16, "ipv4");
THIS_MACHINE.addAddress("168.63.129.16", "ipv4");
THIS_MACHINE.addSubnet("fe80::", 10, "ipv6");

type Matches = (hostname: string, port: number) => boolean;

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

/** Without options every destination is connected to directly. */
export function createProxyRules(options: ProxyOptions | undefined): ProxyFor {
  if (options === undefined) return () => undefined;
  const exceptions = options.exceptions.map(compileException).filter((matches) => matches !== undefined);
  return ({ protocol, hostname: written, port: writtenPort }) => {
    const proxy = protocol === "http:" ? options.http : options.https;
    if (proxy === undefined) return undefined;
    const hostname = bare(written);
    if (isWithin(THIS_MACHINE, hostname)) return undefined;
    const port = Number(writtenPort || DEFAULT_PORTS[protocol]);
    return exceptions.some((matches) => matches(hostname, port)) ? undefined : proxy;
  };
}

/** Entries of NO_PROXY without a meaning, such as `10.*`: they except nothing, so an operator has to hear of them. */
export function unreadExceptions({ exceptions }: ProxyOptions): readonly string[] {
  return exceptions.filter((entry) => compileException(entry) === undefined);
}

/**
 * - `*` matches every destination;
 * - `10.0.0.0/8`, `fd00::/8` match addresses in the network, as long as the destination is written as an address;
 * - `10.1.2.3`, `::1`, `[::1]` match that address;
 * - `example.com` and `.example.com` match the name and every name below it, `*.example.com` the names below it;
 * - any of the last two kinds with `:8443` behind it matches that port alone.
 */
function compileException(entry: string): Matches | undefined {
  if (entry === "*") return () => true;
  const network = /^\[?([0-9a-f:.]+)\]?\/(\d{1,3})$/i.exec(entry);
  if (network !== null) return compileNetwork(network[1] ?? "", Number(network[2]));
  const [host = "", port] = splitPort(entry);
  const isPort: (given: number) => boolean = port === undefined ? () => true : (given) => given === port;
  if (isIP(host) !== 0) {
    const address = compileNetwork(host, isIP(host) === 4 ? 32 : 128);
    return address && ((hostname, given) => isPort(given) && address(hostname, given));
  }
  const name = /^(?<wild>\*?\.)?(?<labels>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?$/i.exec(host)?.groups;
  if (name?.labels === undefined) return undefined;
  const labels = name.labels.toLowerCase();
  const includesItself = name.wild !== "*.";
  return (hostname, given) =>
    isPort(given) && ((includesItself && hostname === labels) || hostname.endsWith(`.${labels}`));
}

function compileNetwork(address: string, prefix: number): Matches | undefined {
  const family = isIP(address);
  if (family === 0 || prefix > (family === 4 ? 32 : 128)) return undefined;
  const list = new BlockList();
  list.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  return (hostname) => isWithin(list, hostname);
}

function isWithin(list: BlockList, hostname: string): boolean {
  const family = isIP(hostname);
  return family !== 0 && list.check(hostname, family === 4 ? "ipv4" : "ipv6");
}

function splitPort(entry: string): [host: string, port?: number] {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(entry);
  const parts = bracketed ?? /^([^:]+):(\d{1,5})$/.exec(entry);
  if (parts === null) return [entry];
  return parts[2] === undefined ? [parts[1] ?? ""] : [parts[1] ?? "", Number(parts[2])];
}

/** A host as rules compare it: lower case, no brackets, no dot at the end. */
function bare(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
}
