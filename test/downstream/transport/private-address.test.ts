import type { LookupAddress } from "node:dns";
import { describe, expect, test } from "@jest/globals";
import {
  isPrivateAddress,
  NOT_PUBLIC_V4,
  NOT_PUBLIC_V6,
  PrivateAddressError,
  publicLookup,
} from "../../../src/downstream/transport/private-address.ts";

describe("an address", () => {
  test.each([
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:a00:1",
    "::ffff:0:1",
    "::ffff:0:0",
    "0:0:0:0:0:ffff:169.254.169.254",
    "0000:0000:0000:0000:0000:ffff:a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2001:0:a00:1::",
    "100::1",
    "5f00::1",
    "localhost",
    "",
    "010.0.0.1",
    "0x7f.0.0.1",
  ])("%j counts as private", (address) => {
    expect(isPrivateAddress(address)).toBe(true);
  });

  test.each([
    "20.190.128.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "168.63.129.17",
    "::ffff:8.8.8.8",
    "::ffff:808:808",
    "64:ff9b::8.8.8.8",
    "64:ff9b::808:808",
    "2603:1036:2401::1",
    "2a00:1450:4001:81b::200e",
  ])("%s counts as public", (address) => {
    expect(isPrivateAddress(address)).toBe(false);
  });
});

/** The neighbours of a network: its first and last address, and the addresses before and after it. */
function edgesOf(network: string, prefix: number, bits: 32 | 128) {
  const first = bits === 32 ? fromV4(network) : fromV6(network);
  const last = first + (1n << BigInt(bits - prefix)) - 1n;
  const write = bits === 32 ? toV4 : toV6;
  const inRange = (value: bigint) => value >= 0n && value < 1n << BigInt(bits);
  return {
    inside: [first, last].map(write),
    outside: [first - 1n, last + 1n].filter(inRange).map(write),
  };
}

const fromV4 = (text: string) => text.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
const toV4 = (value: bigint) => [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
function fromV6(text: string): bigint {
  const [head = "", tail = ""] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const zeros = Array(8 - groups(head).length - groups(tail).length).fill("0");
  return [...groups(head), ...zeros, ...groups(tail)].reduce(
    (sum, group) => sum * 65_536n + BigInt(`0x${group}`),
    0n,
  );
}
const toV6 = (value: bigint) =>
  Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - index * 16)) & 0xffffn).toString(16)).join(
    ":",
  );

describe("the table of private ranges", () => {
  const isInAnother = (address: bigint, table: typeof NOT_PUBLIC_V4, bits: 32 | 128) =>
    table.some(([network, prefix]) => {
      const first = bits === 32 ? fromV4(network) : fromV6(network);
      return address >= first && address < first + (1n << BigInt(bits - prefix));
    });

  test.each(NOT_PUBLIC_V4)(
    "%s/%i counts as private from its first address to its last, and no further",
    (network, prefix) => {
      const { inside, outside } = edgesOf(network, prefix, 32);
      for (const address of inside)
        for (const spelling of [address, `::ffff:${address}`, `64:ff9b::${address}`])
          expect([spelling, isPrivateAddress(spelling)]).toEqual([spelling, true]);
      for (const address of outside.filter((one) => !isInAnother(fromV4(one), NOT_PUBLIC_V4, 32)))
        for (const spelling of [address, `::ffff:${address}`, `::FFFF:${address}`, `64:ff9b::${address}`])
          expect([spelling, isPrivateAddress(spelling)]).toEqual([spelling, false]);
    },
  );

  test.each(NOT_PUBLIC_V6)(
    "%s/%i counts as private from its first address to its last, and no further",
    (network, prefix) => {
      const { inside, outside } = edgesOf(network, prefix, 128);
      for (const address of inside)
        for (const spelling of [address, address.toUpperCase()])
          expect([spelling, isPrivateAddress(spelling)]).toEqual([spelling, true]);
      const global = outside.filter((one) => fromV6(one) >> 125n === 1n);
      for (const address of global.filter((one) => !isInAnother(fromV6(one), NOT_PUBLIC_V6, 128)))
        expect([address, isPrivateAddress(address)]).toEqual([address, false]);
    },
  );

  test("leaves nothing of IPv6 public but the global unicast range, which it ends on both sides", () => {
    expect(["1fff:ffff::1", "4000::1", "3fff:1000::1", "2000::1"].map(isPrivateAddress)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

describe("a lookup for public addresses", () => {
  const resolving = (addresses: LookupAddress[], error: NodeJS.ErrnoException | null = null) =>
    publicLookup(((_host: string, _options: unknown, callback: (...results: unknown[]) => void) =>
      callback(error, addresses)) as never);

  const ask = (lookup: ReturnType<typeof publicLookup>, all: boolean) =>
    new Promise<unknown[]>((resolve) => lookup("api.example", { all }, (...results) => resolve(results)));

  test("leaves private addresses out, whether one or all are asked for", async () => {
    const lookup = resolving([
      { address: "10.0.0.1", family: 4 },
      { address: "8.8.8.8", family: 4 },
      { address: "::1", family: 6 },
    ]);
    expect(await ask(lookup, true)).toEqual([null, [{ address: "8.8.8.8", family: 4 }]]);
    expect(await ask(lookup, false)).toEqual([null, "8.8.8.8", 4]);
  });

  test("fails when no public address is left", async () => {
    const [error] = await ask(resolving([{ address: "127.0.0.1", family: 4 }]), true);
    expect(error).toBeInstanceOf(PrivateAddressError);
  });

  test("fails as the resolver does", async () => {
    const [error] = await ask(resolving([], Object.assign(new Error("no"), { code: "ENOTFOUND" })), false);
    expect(error).toMatchObject({ code: "ENOTFOUND" });
  });
});
