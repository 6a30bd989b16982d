import { describe, expect, test } from "@jest/globals";
import { createProxyRules, unreadExceptions } from "../../src/outbound/proxies.ts";

const server = { isTls: false, hostname: "proxy.example", port: 3128, authorization: undefined };

function isProxied(destination: string, ...exceptions: string[]): boolean {
  const proxyFor = createProxyRules({ http: server, https: server, exceptions });
  return proxyFor(new URL(destination)) !== undefined;
}

describe("an entry of NO_PROXY", () => {
  test.each<[entry: string, excepted: string[], proxied: string[]]>([
    ["*", ["https://a.example", "http://10.0.0.1", "https://[::1]"], []],
    [
      "example.com",
      ["https://example.com", "https://www.example.com", "https://EXAMPLE.com:8443", "https://example.com."],
      ["https://notexample.com", "https://example.com.evil", "https://example.org"],
    ],
    [
      ".example.com",
      ["https://example.com", "https://www.example.com", "https://a.b.example.com"],
      ["https://notexample.com", "https://wwwexample.com"],
    ],
    ["*.example.com", ["https://www.example.com", "https://a.b.example.com"], ["https://example.com"]],
    ["EXAMPLE.com.", ["https://www.example.com"], ["https://example.net"]],
    [".svc", ["http://orders.shop.svc:8080"], ["http://orders.shop.svc.cluster.local"]],
    ["localhost", ["https://localhost:8443"], ["https://127.0.0.1", "https://localhost.example"]],
    [
      "example.com:8443",
      ["https://example.com:8443", "https://www.example.com:8443"],
      ["https://example.com"],
    ],
    ["example.com:443", ["https://example.com", "https://example.com:443"], ["http://example.com"]],
    ["example.com:80", ["http://example.com"], ["https://example.com"]],
    ["127.0.0.1", ["https://127.0.0.1", "https://127.0.0.1:9"], ["https://127.0.0.2", "https://localhost"]],
    ["127.0.0.1:9", ["https://127.0.0.1:9"], ["https://127.0.0.1"]],
    [
      "10.0.0.0/8",
      ["https://10.0.0.0", "https://10.255.255.255", "https://[::ffff:10.1.2.3]"],
      ["https://9.255.255.255", "https://11.0.0.0", "https://ten.example"],
    ],
    ["192.168.1.128/25", ["https://192.168.1.128", "https://192.168.1.255"], ["https://192.168.1.127"]],
    ["0.0.0.0/0", ["https://8.8.8.8"], ["https://[2001:db8::1]"]],
    ["::1", ["https://[::1]", "https://[0:0:0:0:0:0:0:1]:8443"], ["https://[::2]"]],
    ["[::1]", ["https://[::1]"], ["https://[::2]"]],
    ["[::1]:8443", ["https://[::1]:8443"], ["https://[::1]"]],
    ["fd00::/8", ["https://[fd00::1]", "https://[fdff::1]"], ["https://[fc00::1]", "https://[fe00::1]"]],
  ])("%s excepts what it names and nothing beside", (entry, excepted, proxied) => {
    for (const destination of excepted)
      expect([destination, isProxied(destination, entry)]).toEqual([destination, false]);
    for (const destination of proxied)
      expect([destination, isProxied(destination, entry)]).toEqual([destination, true]);
  });

  test("counts among others", () => {
    expect(isProxied("https://b.example", "a.example", "b.example")).toBe(false);
    expect(isProxied("https://c.example", "a.example", "b.example")).toBe(true);
  });

  test.each([
    "10.*",
    "a b",
    "http://a.example",
    "10.0.0.0/33",
    "::1/129",
    "/8",
    "a..b",
    "*.",
    "exa*mple.com",
  ])("%j has no meaning, excepts nothing and is reported", (entry) => {
    expect(isProxied("https://10.0.0.1", entry)).toBe(true);
    expect(unreadExceptions({ http: server, https: server, exceptions: ["a.example", entry] })).toEqual([
      entry,
    ]);
  });
});

describe("a destination", () => {
  test.each([
    "http://169.254.169.254/metadata",
    "http://169.254.0.1",
    "http://168.63.129.16",
    "http://[fe80::1]",
  ])("that only this machine can ask never goes through a proxy: %s", (destination) => {
    expect(isProxied(destination)).toBe(false);
  });

  test.each(["http://168.63.129.17", "http://169.253.255.255", "http://169.255.0.0", "http://127.0.0.1"])(
    "beside those does: %s",
    (destination) => {
      expect(isProxied(destination)).toBe(true);
    },
  );

  test("goes through the proxy of its scheme", () => {
    const [forHttp, forHttps] = [
      { ...server, port: 1 },
      { ...server, port: 2 },
    ];
    const both = createProxyRules({ http: forHttp, https: forHttps, exceptions: [] });
    expect([both(new URL("http://a.example")), both(new URL("https://a.example"))]).toEqual([
      forHttp,
      forHttps,
    ]);
    const one = createProxyRules({ http: undefined, https: forHttps, exceptions: [] });
    expect(one(new URL("http://a.example"))).toBeUndefined();
  });

  test("is connected to directly where the environment names no proxy", () => {
    expect(createProxyRules(undefined)(new URL("https://a.example"))).toBeUndefined();
  });
});
