/** Tells public addresses from those that only mean something inside a network, and refuses to resolve to the latter. */

import { lookup as systemLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";

/** A name or address that leads into a private network, where an API did not say that this is meant. */
export class PrivateAddressError extends Error {
  override readonly name = "PrivateAddressError";
  readonly code = "ERR_PRIVATE_ADDRESS";

  constructor() {
    super("the host has no public address");
  }
}

/** IANA's special-purpose registry (RFC 6890 and its updates), plus what clouds answer on beside it. */
export const NOT_PUBLIC_V4: readonly (readonly [network: string, prefix: number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  // Link-local; 169.254.169.254 hands out the machine's own credentials.
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
  // Azure's platform endpoint for virtual machines: a public number that never leaves the host.
  ["168.63.129.16", 32],
];

/** Inside the global unicast range, and yet a tunnel to an IPv4 address, or documentation. */
export const NOT_PUBLIC_V6: readonly (readonly [network: string, prefix: number])[] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const notPublic = new BlockList();
for (const [network, prefix] of NOT_PUBLIC_V4) notPublic.addSubnet(network, prefix, "ipv4");
for (const [network, prefix] of NOT_PUBLIC_V6) notPublic.addSubnet(network, prefix, "ipv6");
const globalUnicast = new BlockList();
globalUnicast.addSubnet("2000::", 3, "ipv6");

/** Prefixes whose last 32 bits are the IPv4 address that is really meant: mapped (RFC 4291) and NAT64 (RFC 6052). */
const EMBEDS_V4 = new BlockList();
EMBEDS_V4.addSubnet("::ffff:0:0", 96, "ipv6");
EMBEDS_V4.addSubnet("64:ff9b::", 96, "ipv6");

/** Whether a literal IP address is reachable only inside some network. Not an address at all counts as private. */
export function isPrivateAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return notPublic.check(address, "ipv4");
    case 6: {
      // Addresses with a zone are link-local, and BlockList does not read them.
      if (address.includes("%")) return true;
      if (EMBEDS_V4.check(address, "ipv6")) return notPublic.check(embeddedV4(address), "ipv4");
      // Everything outside the one range that IANA hands out is local, or reserved.
      return !globalUnicast.check(address, "ipv6") || notPublic.check(address, "ipv6");
    }
    default:
      return true;
  }
}

/** The last 32 bits of an IPv6 address, as IPv4. */
function embeddedV4(address: string): string {
  const dotted = address.slice(address.lastIndexOf(":") + 1);
  if (dotted.includes(".")) return dotted;
  // The URL parser writes every IPv6 address in its one canonical form, in which these are two groups of hex.
  const groups = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::").at(-1)?.split(":") ?? [];
  const [high, low] = groups.slice(-2).map((group) => Number.parseInt(group || "0", 16));
  const bits = groups.length > 1 ? [high ?? 0, low ?? 0] : [0, high ?? 0];
  return bits.flatMap((pair) => [pair >> 8, pair & 0xff]).join(".");
}

/**
 * A DNS lookup that returns public addresses only. It is the connection's own lookup, so the address that was
 * checked is the address that is connected to, and a name that changes its answer in between (DNS rebinding) gains
 * nothing. Fails with `PrivateAddressError` when a name has no public address.
 */
export function publicLookup(resolve: typeof systemLookup = systemLookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const [first, ...rest] = addresses.filter(({ address }) => !isPrivateAddress(address));
      if (first === undefined) callback(new PrivateAddressError(), []);
      else if (options.all === true) callback(null, [first, ...rest]);
      else callback(null, first.address, first.family);
    });
  };
}
