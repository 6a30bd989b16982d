import { describe, expect, test } from "@jest/globals";
import { createLinkRewriter } from "../../../src/downstream/graph/link-rewriter.ts";
import { createLinkRewrite, gatewayLink } from "../../../src/downstream/graph/links.ts";
import { isGraph, readBaseUrl } from "../../../src/downstream/target/downstream-api.ts";
import { apiAt } from "../api-options.ts";

const api = apiAt(0, { baseUrl: "https://graph.example/v1.0", kind: "graph" });
const MOUNT = "https://gateway.example/graph";
const rewriterOfLinks = () =>
  createLinkRewriter({
    from: "https://graph.example/v1.0/",
    to: `${MOUNT}/`,
    rewrite: (link) => gatewayLink(readBaseUrl(api), MOUNT, link),
  });

describe("a link", () => {
  test.each([
    ["below the base", "https://graph.example/v1.0/me/messages?$skip=10", `${MOUNT}/me/messages?$skip=10`],
    [
      "with an opaque token",
      "https://graph.example/v1.0/x?$skiptoken=a%2Fb'c",
      `${MOUNT}/x?$skiptoken=a%2Fb'c`,
    ],
    ["that spells the host in capitals", "https://GRAPH.example/v1.0/me?a", `${MOUNT}/me?a`],
    ["that names the scheme's own port", "https://graph.example:443/v1.0/me", `${MOUNT}/me`],
  ])("%s leads back to the gateway", (_, link, expected) => {
    expect(gatewayLink(readBaseUrl(api), MOUNT, link)).toBe(expected);
  });

  test.each([
    ["to another host", "https://evil.example/v1.0/me"],
    ["to a host that begins like the API's", "https://graph.example.evil.example/v1.0/me"],
    ["that hides its host behind user information", "https://graph.example@evil.example/v1.0/me"],
    ["with user information", "https://a:b@graph.example/v1.0/me"],
    ["to another port", "https://graph.example:8443/v1.0/me"],
    ["to another scheme", "http://graph.example/v1.0/me"],
    ["to another version", "https://graph.example/beta/me"],
    ["to a path that begins like the base", "https://graph.example/v1.0.evil/me"],
    ["out of the base by dot segments", "https://graph.example/v1.0/../beta/me"],
    ["out of the base by encoded dot segments", "https://graph.example/v1.0/%2e%2e/beta/me"],
    ["that is relative", "/v1.0/me"],
    ["that is no URL", "next page, please"],
  ])("%s is left alone", (_, link) => {
    expect(gatewayLink(readBaseUrl(api), MOUNT, link)).toBe(link);
  });
});

describe("a JSON document that streams by", () => {
  const page = {
    "@odata.context": "https://graph.example/v1.0/$metadata#messages",
    value: [
      { id: 1, "members@odata.nextLink": "https://graph.example/v1.0/groups/1/members?$skiptoken=m" },
      { text: 'a trap: "@odata.nextLink":"https://graph.example/v1.0/trap" \u00e9 \ud83d\ude00 @odata.next' },
      { value: "@odata.nextLink", other: "@" },
    ],
    "@odata.nextLink": 'https://graph.example/v1.0/me?$skiptoken=\u00e9"\\',
    "@odata.deltaLink": "https://graph.example/v1.0/me/delta?$deltatoken=d",
  };
  const expected = structuredClone(page);
  Object.assign(expected.value[0] as object, {
    "members@odata.nextLink": `${MOUNT}/groups/1/members?$skiptoken=m`,
  });
  expected["@odata.nextLink"] = `${MOUNT}/me?$skiptoken=\u00e9"\\`;
  expected["@odata.deltaLink"] = `${MOUNT}/me/delta?$deltatoken=d`;

  const rewrite = (bytes: Buffer, size: number): string => {
    const rewriter = rewriterOfLinks();
    const out: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) out.push(rewriter.push(bytes.subarray(at, at + size)));
    return Buffer.concat([...out, rewriter.flush()]).toString("utf8");
  };

  test.each([1, 2, 3, 5, 7, 16, 17, 64, 1024, 1_000_000])(
    "in pieces of %i bytes has its links rewritten, at every depth, and nothing else",
    (size) => {
      expect(rewrite(Buffer.from(JSON.stringify(page)), size)).toBe(JSON.stringify(expected));
      const indented = Buffer.from(JSON.stringify(page, null, 2).replaceAll('": ', '"\r\n\t : '));
      expect(JSON.parse(rewrite(indented, size))).toEqual(expected);
    },
  );

  test.each([
    ["numbers that a parser would round", '{"n":12345678901234567890,"x":1.0}'],
    ["members that stand twice", '{"a":1,"a":2}'],
    ["a link that is null", '{"@odata.nextLink":null}'],
    ["a link without end", `{"@odata.nextLink":"https://graph.example/v1.0/${"x".repeat(40_000)}`],
    ["a link cut short", '{"@odata.nextLink":"https://graph.example/v1.0/me'],
    ["a name cut short", '{"@odata.nextLi'],
    ["what is no JSON at all", '@odata.nextLink""@odata.deltaLink" : oh'],
  ])("keeps %s as it is", (_, text) => {
    expect(rewrite(Buffer.from(text), 11)).toBe(text);
  });

  test("is not held back beyond what may be a link, whatever has come of it", () => {
    const rewriter = rewriterOfLinks();
    expect(`${rewriter.push(Buffer.from('3],"@odata.nextLink" '))}`).toBe('3],"@odata.nextLink" ');
    expect(`${rewriter.push(Buffer.from(': "https://graph.exam'))}`).toBe(": ");
    expect(`${rewriter.push(Buffer.from('ple/v1.0/me"}'))}`).toBe(`"${MOUNT}/me"}`);
  });
});

describe("an answer is looked into", () => {
  const looksInto = (status: number, headers: Record<string, string>) =>
    createLinkRewrite(api, MOUNT).body(status, headers) !== undefined;

  test.each([
    ["application/json"],
    ["application/json;odata.metadata=minimal;odata.streaming=true;charset=utf-8"],
    ['application/vnd.example+json; charset="UTF-8"'],
  ])("when it is %s", (type) => {
    expect(looksInto(200, { "content-type": type })).toBe(true);
  });

  test.each<[string, number, Record<string, string>]>([
    ["is compressed", 200, { "content-type": "application/json", "content-encoding": "gzip" }],
    ["is in another charset", 200, { "content-type": "application/json; charset=utf-16" }],
    ["is not JSON", 200, { "content-type": "text/event-stream" }],
    ["does not say what it is", 200, {}],
    ["is a piece of one", 200, { "content-type": "application/json", "content-range": "bytes 0-1/9" }],
    ["is a refusal", 400, { "content-type": "application/json" }],
  ])("but not when it %s", (_, status, headers) => {
    expect(looksInto(status, headers)).toBe(false);
  });
});

test.each([
  ["https://graph.microsoft.com/v1.0", undefined, true],
  ["https://dod-graph.microsoft.us/v1.0", undefined, true],
  ["https://graph.microsoft.com/v1.0", "plain", false],
  ["https://graph.example/v1.0", undefined, false],
  ["https://graph.example/v1.0", "graph", true],
  ["https://graph.microsoft.com.evil.example/v1.0", undefined, false],
] as const)("%s with kind %s is taken for Graph: %s", (baseUrl, kind, expected) => {
  expect(isGraph({ baseUrl, kind })).toBe(expected);
});
