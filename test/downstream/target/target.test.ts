import { describe, expect, test } from "@jest/globals";
import { compileTarget } from "../../../src/downstream/target/downstream-api.ts";
import { ConfigurationError, GatewayError } from "../../../src/errors.ts";
import { refusal } from "../../support/refusal.ts";
import { apiAt } from "../api-options.ts";

const api = apiAt(443, { baseUrl: "https://graph.example/v1.0", allowPrivateNetwork: false });
const rules = { path: "/graph", methods: ["GET", "POST"], allow: ["/**"] };
const anywhere = compileTarget(api, rules);

const control = (code: number) => `%${code.toString(16).padStart(2, "0")}`;

const MALFORMED: readonly (readonly [raw: string, why: string])[] = [
  ["", "nothing at all"],
  ["graph/me", "no leading slash"],
  ["*", "asterisk-form"],
  ["http://graph.example/graph/me", "absolute-form"],
  ["https://evil.example/graph/me", "absolute-form to another host"],
  ["HTTP://graph.example/graph/me", "absolute-form in capitals"],
  ["file:///graph/me", "another scheme"],
  ["graph.example:443", "authority-form"],
  ["user:secret@graph.example", "authority-form with user information"],
  ["\\graph\\me", "leading backslash"],
  ["?x=/graph/me", "query alone"],
  ["#/graph/me", "fragment alone"],
  [" /graph/me", "leading blank"],
  ["\t/graph/me", "leading tab"],
  ["/graph/me#fragment", "fragment behind the path"],
  ["/graph/me?x=1#fragment", "fragment behind the query"],
  ["/graph/me\\..\\admin", "backslash traversal"],
  ["/graph\\me", "backslash for slash"],
  ["/graph/\\evil.example/me", "backslash authority"],
  ["/graph/me ", "trailing blank"],
  ["/graph/m e", "blank inside"],
  ["/graph/me HTTP/1.1", "a second request line's end"],
  ["/graph/me\r\nx-injected: 1", "CRLF in the path"],
  ["/graph/me\nx", "LF in the path"],
  ["/graph/me\rx", "CR in the path"],
  ["/graph/me?x=\r\ny: 1", "CRLF in the query"],
  ["/graph/me?x=\n", "LF in the query"],
  ["/graph/me?x=a b", "blank in the query"],
  ["/graph/me\0", "NUL in the path"],
  ["/graph/me?\0", "NUL in the query"],
  ["/graph/me\u007f", "DEL"],
  ["/graph/m\u00e9", "latin-1 byte"],
  ["/graph/me?x=\u00e9", "latin-1 byte in the query"],
  ["/graph/\u2215etc", "Unicode slash as it is"],
  ["/graph/me\u2028", "line separator"],
  ['/graph/"me"', "quote"],
  ["/graph/<script>", "angle brackets"],
  ["/graph/`id`", "backticks"],
  ["/graph/{id}", "braces"],
  ["/graph/^me", "caret"],
  ["/graph/me%", "bare percent"],
  ["/graph/me%2", "half an encoding"],
  ["/graph/me%zz", "no hex digits"],
  ["/graph/me%u002e", "%u encoding"],
  ["/graph/%u2215", "%u slash"],
  ["/graph/%c0%ae%c0%ae/admin", "overlong UTF-8 dots"],
  ["/graph/%c0%af", "overlong UTF-8 slash"],
  ["/graph/%e0%80%af", "overlong UTF-8 slash, three bytes"],
  ["/graph/%f0%80%80%af", "overlong UTF-8 slash, four bytes"],
  ["/graph/%c1%9c", "overlong UTF-8 backslash"],
  ["/graph/%ff", "no UTF-8"],
  ["/graph/%ed%a0%80", "a lone surrogate"],
  ["/graph/%f5%80%80%80", "past the last code point"],
  ["/graph/a%2fb", "encoded slash"],
  ["/graph/a%2Fb", "encoded slash in capitals"],
  ["/graph/..%2fadmin", "traversal behind an encoded slash"],
  ["/graph/%2e%2e%2fadmin", "wholly encoded traversal"],
  ["/graph/%2f%2fevil.example", "encoded authority"],
  ["/%2fgraph/me", "encoded slash before the mount"],
  ["/graph%2fme", "encoded slash behind the mount"],
  ["/graph/a%5cb", "encoded backslash"],
  ["/graph/a%5Cb", "encoded backslash in capitals"],
  ["/graph/..%5cadmin", "traversal behind an encoded backslash"],
  ["/graph/%252e%252e/admin", "double-encoded dots"],
  ["/graph/%252fadmin", "double-encoded slash"],
  ["/graph/%255cadmin", "double-encoded backslash"],
  ["/graph/%2500", "double-encoded NUL"],
  ["/graph/%25252e", "triple encoding"],
  ["/graph/%25%32%65", "double encoding in pieces"],
  ["/graph/%%32%65", "a percent before an encoding"],
  ["/graph/%2525", "double-encoded percent"],
  [`/graph/${"a".repeat(17_000)}`, "too long a path"],
  [`/graph/me?${"a".repeat(17_000)}`, "too long a query"],
  [`/graph${"/a".repeat(300)}`, "too many segments"],
  ...[0, 1, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127].map(
    (code) => [`/graph/a${control(code)}b`, `encoded control character ${code}`] as const,
  ),
  ["/graph/a%0d%0ax-injected:%201", "encoded CRLF"],
  ["/graph/me%c2%80", "encoded C1 control"],
  ["/graph/me%c2%85", "encoded next line"],
];

const FORBIDDEN: readonly (readonly [raw: string, why: string])[] = [
  ["/", "the root above the mount"],
  ["/other/me", "another mount"],
  ["/graphs/me", "a mount that only begins alike"],
  ["/Graph/me", "the mount in another case"],
  ["/graph/../admin", "traversal"],
  ["/graph/..", "traversal at the end"],
  ["/graph/../", "traversal with a trailing slash"],
  ["/graph/me/../../admin", "traversal out of the mount"],
  ["/../graph/me", "traversal before the mount"],
  ["/graph/./me", "single dot"],
  ["/graph/me/.", "single dot at the end"],
  ["/graph/%2e%2e/admin", "encoded traversal"],
  ["/graph/%2E%2E/admin", "encoded traversal in capitals"],
  ["/graph/.%2e/admin", "half-encoded traversal"],
  ["/graph/%2e./admin", "half-encoded traversal, other half"],
  ["/graph/%2e/me", "encoded single dot"],
  ["/graph/..;/admin", "path parameter behind the dots"],
  ["/graph/..;x=y/admin", "path parameter with a value"],
  ["/graph/..%3b/admin", "encoded path parameter"],
  ["/graph/.;/me", "path parameter behind one dot"],
  ["/graph/%2e%2e;a/admin", "encoded dots with a path parameter"],
  ["/graph/.../admin", "three dots"],
  ["/graph/..../admin", "four dots"],
  ["/graph/..%20/admin", "trailing blank behind the dots"],
  ["/graph/%20../admin", "leading blank before the dots"],
  ["/graph/.%20./admin", "a blank between the dots"],
  ["/graph/%EF%BC%8E%EF%BC%8E/admin", "full-width dots"],
  ["/graph/%E2%80%A5/admin", "two-dot leader"],
  ["/graph/%E2%80%A6/admin", "ellipsis"],
  ["/graph/%E2%80%A4%E2%80%A4/admin", "one-dot leaders"],
  ["/graph/x%EF%BC%8F..%EF%BC%8Fadmin", "traversal between full-width slashes"],
  ["/graph/x%EF%BC%BC..%EF%BC%BCadmin", "traversal between full-width backslashes"],
  ["//graph/me", "empty segment before the mount"],
  ["//evil.example/graph/me", "network-path reference"],
  ["/graph//me", "empty segment"],
  ["/graph///me", "empty segments"],
  ["/graph/me//", "empty segments at the end"],
  ["/graph//evil.example/me", "authority behind the mount"],
];

describe("a hostile request-target", () => {
  test("is tried in more than a hundred forms", () => {
    expect(MALFORMED.length + FORBIDDEN.length).toBeGreaterThanOrEqual(100);
  });

  test.each(MALFORMED)("%j is malformed: %s", (raw) => {
    expect(refusal(() => anywhere("GET", raw))?.code).toBe("request_malformed");
  });

  test.each(FORBIDDEN)("%j is forbidden: %s", (raw) => {
    expect(refusal(() => anywhere("GET", raw))?.code).toBe("target_forbidden");
  });

  test("never makes it into the message that the caller gets", () => {
    for (const [raw] of [...MALFORMED, ...FORBIDDEN]) {
      try {
        anywhere("GET", raw);
      } catch (error) {
        expect((error as Error).message).not.toMatch(/evil|admin|%/);
      }
    }
  });
});

describe("an honest request-target", () => {
  test.each([
    ["/graph/me", "/v1.0/me"],
    ["/graph/me/", "/v1.0/me/"],
    ["/graph", "/v1.0"],
    ["/graph/", "/v1.0/"],
    ["/graph?x=1", "/v1.0?x=1"],
    ["/graph/me/photo/$value", "/v1.0/me/photo/$value"],
    ["/graph/users/a%40b.c", "/v1.0/users/a%40b.c"],
    ["/graph/users/a@b.c", "/v1.0/users/a@b.c"],
    ["/graph/me/drive/root:/a%20b.txt:/content", "/v1.0/me/drive/root:/a%20b.txt:/content"],
    ["/graph/me/messages('id')", "/v1.0/me/messages('id')"],
    ["/graph/me/messages(%27id%27)", "/v1.0/me/messages(%27id%27)"],
    ["/graph/me/drive/root:/%E6%96%87.txt", "/v1.0/me/drive/root:/%E6%96%87.txt"],
    ["/graph/me/drive/root:/2024%EF%BC%8F01.txt", "/v1.0/me/drive/root:/2024%EF%BC%8F01.txt"],
    ["/graph/me/drive/root:/100%25.txt", "/v1.0/me/drive/root:/100%25.txt"],
    ["/graph/me/drive/root:/.gitignore", "/v1.0/me/drive/root:/.gitignore"],
    ["/graph/me/drive/root:/a..b", "/v1.0/me/drive/root:/a..b"],
    ["/graph/me/drive/root:/a.", "/v1.0/me/drive/root:/a."],
    ["/graph/%6de", "/v1.0/%6de"],
    ["/gr%61ph/me", "/v1.0/me"],
    ["/graph/a;b=c/d", "/v1.0/a;b=c/d"],
    ["/graph/a|b~!$&'()*+,;=:@-._", "/v1.0/a|b~!$&'()*+,;=:@-._"],
    ["/graph/me?$filter=a%20eq%20'b'&$top=5", "/v1.0/me?$filter=a%20eq%20'b'&$top=5"],
    ["/graph/me?", "/v1.0/me?"],
    ["/graph/me??a?b", "/v1.0/me??a?b"],
    ["/graph/me?x=../..//%2e%2f%00%zz\\{}|^`", "/v1.0/me?x=../..//%2e%2f%00%zz\\{}|^`"],
    [`/graph/me?$skiptoken=${"x".repeat(9000)}`, `/v1.0/me?$skiptoken=${"x".repeat(9000)}`],
  ])("%s becomes %s", (raw, path) => {
    expect(anywhere("GET", raw)).toEqual({ api, origin: "https://graph.example", path });
  });

  test("is found below an API at the root of its host", () => {
    const root = compileTarget({ ...api, baseUrl: "https://graph.example" }, rules);
    expect(root("GET", "/graph/me?x").path).toBe("/me?x");
    expect(root("GET", "/graph").path).toBe("/");
    expect(root("GET", "/graph/").path).toBe("/");
  });

  test("is found below a mount at the root of the gateway, and below one of several segments", () => {
    expect(compileTarget(api, { ...rules, path: "/" })("GET", "/me").path).toBe("/v1.0/me");
    expect(compileTarget(api, { ...rules, path: "/api/graph" })("GET", "/api/graph/me").path).toBe(
      "/v1.0/me",
    );
  });
});

describe("a route's methods", () => {
  test.each(["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get", "Get", "GET ", "", "TRACE", "CONNECT"])(
    "%j is not allowed where only GET and POST are",
    (method) => {
      expect(refusal(() => anywhere(method, "/graph/me"))?.code).toBe("method_not_allowed");
    },
  );

  test.each(["TRACE", "CONNECT"])("%s cannot be configured", (method) => {
    expect(() => compileTarget(api, { ...rules, methods: [method] })).toThrow(ConfigurationError);
  });
});

describe("a route's allow-list", () => {
  const allowed = (allow: readonly string[], path: string): boolean => {
    try {
      compileTarget(api, { ...rules, allow })("GET", `/graph${path}`);
      return true;
    } catch (error) {
      expect(refusal(() => compileTarget(api, { ...rules, allow })("GET", `/graph${path}`))).toEqual({
        code: "target_forbidden",
        reason: "not_allowed",
      });
      expect(error).toBeInstanceOf(GatewayError);
      return false;
    }
  };

  test.each<[pattern: string, path: string, expected: boolean]>([
    ["/me", "/me", true],
    ["/me", "/me?x=/admin", true],
    ["/me", "/%6d%65", true],
    ["/me", "/me/", false],
    ["/me", "/me/messages", false],
    ["/me", "/ME", false],
    ["/me", "/menu", false],
    ["/me", "", false],
    ["/me/", "/me/", true],
    ["/me/", "/me", false],
    ["/", "", true],
    ["/", "/", true],
    ["/", "/me", false],
    ["/me/*", "/me/messages", true],
    ["/me/*", "/me", false],
    ["/me/*", "/me/", false],
    ["/me/*", "/me/messages/1", false],
    ["/*/messages", "/me/messages", true],
    ["/*/messages", "/users/messages", true],
    ["/*/messages", "/messages", false],
    ["/me/**", "/me", true],
    ["/me/**", "/me/", true],
    ["/me/**", "/me/a/b/c", true],
    ["/me/**", "/menu", false],
    ["/**", "", true],
    ["/**", "/a/b", true],
    ["/**/content", "/content", true],
    ["/**/content", "/a/b/content", true],
    ["/**/content", "/a/content/b", false],
    ["/drives/**/items/*/content", "/drives/1/2/items/3/content", true],
    ["/drives/**/items/*/content", "/drives/items/3/content", true],
    ["/drives/**/items/*/content", "/drives/items/content", false],
    ["/drives/**/items/**/content", "/drives/a/items/b/items/c/content", true],
    ["/me/drive/root:/a b.txt:/content", "/me/drive/root:/a%20b.txt:/content", true],
    ["/users/*", "/users/%2A", true],
    ["/users/a", "/users/*", false],
  ])("%s, asked for %s, answers %s", (pattern, path, expected) => {
    expect(allowed([pattern], path)).toBe(expected);
  });

  test("lets nothing through when it is empty, and any of several patterns suffices", () => {
    expect(allowed([], "/me")).toBe(false);
    expect(allowed(["/a", "/b/*", "/me/**"], "/me/x")).toBe(true);
  });

  test("is matched in bounded steps however the pattern and the path conspire", () => {
    const pattern = `/${Array.from({ length: 60 }, () => "**/a").join("/")}/b`;
    const compiled = compileTarget(api, { ...rules, allow: [pattern] });
    expect(refusal(() => compiled("GET", `/graph${"/a".repeat(250)}`))?.code).toBe("target_forbidden");
  });

  test.each([
    "me",
    "/me//x",
    "/me/../x",
    "/me/./x",
    "/me/a*",
    "/me/***",
    "/messages('*')",
    "/me%2fx",
    "/me?x",
    "/me#x",
    "/me\\x",
  ])("%s is a configuration fault", (pattern) => {
    expect(() => compileTarget(api, { ...rules, allow: [pattern] })).toThrow(ConfigurationError);
  });
});

describe("a route with other routes mounted below it", () => {
  const outer = compileTarget(api, { ...rules, reserved: ["/graph/admin", "/graph/a b/c"] });

  test.each([
    ["in its own spelling", "/graph/admin/users"],
    ["with an encoded letter", "/graph/%61dmin/users"],
    ["in other case", "/graph/ADMIN/users"],
    ["with a path parameter", "/graph/admin;x/users"],
    ["with an encoded path parameter", "/graph/admin%3bx/users"],
    ["with a trailing dot", "/graph/admin./users"],
    ["with a trailing blank", "/graph/admin%20/users"],
    ["in full-width letters", "/graph/%EF%BD%81dmin/users"],
    ["without anything below", "/graph/%61dmin"],
    ["with a query", "/graph/%61dmin?x"],
    ["with several segments", "/graph/a%20b/%63"],
  ])("does not let through what is theirs %s", (_, raw) => {
    expect(refusal(() => outer("GET", raw))).toEqual({ code: "target_forbidden", reason: "reserved" });
  });

  test.each(["/graph/administrators", "/graph/me/admin", "/graph/a%20b", "/graph"])(
    "lets through %s",
    (raw) => {
      expect(outer("GET", raw).path).toContain("/v1.0");
    },
  );
});

describe("an API's base URL", () => {
  test.each([
    ["graph.example", "no scheme"],
    ["ftp://graph.example", "another scheme"],
    ["http://graph.example", "http without allowPrivateNetwork"],
    ["https://user:secret@graph.example", "user information"],
    ["https://graph.example?x", "query"],
    ["https://graph.example/?", "empty query"],
    ["https://graph.example/#x", "fragment"],
  ])("%s is a configuration fault: %s", (baseUrl) => {
    expect(() => compileTarget({ ...api, baseUrl }, rules)).toThrow(ConfigurationError);
  });

  test("may be http inside a private network, and may end in slashes", () => {
    const inside = { ...api, baseUrl: "http://orders.internal:8080/api//", allowPrivateNetwork: true };
    expect(compileTarget(inside, rules)("GET", "/graph/1")).toMatchObject({
      origin: "http://orders.internal:8080",
      path: "/api/1",
    });
  });
});

describe("random request-targets", () => {
  const PIECES = [
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2f",
    "%5c",
    "%25",
    "%00",
    ";",
    "a",
    "me",
    "\\",
    "?",
    "#",
    "%",
    "é",
  ];
  const MORE = [
    "%c0%ae",
    "%EF%BC%8E",
    " ",
    "%20",
    ":",
    "@",
    "http:",
    "graph",
    "%252e",
    "\t",
    "*",
    "$value",
    "2e",
  ];

  test("that are let through still lie below the base after any number of further decodings", () => {
    const pieces = [...PIECES, ...MORE];
    let seed = 1;
    const random = (below: number) => {
      // A linear congruential generator, so that a failure can be repeated.
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    let passed = 0;
    for (let round = 0; round < 20_000; round++) {
      const raw = `/graph/${Array.from({ length: 1 + random(7) }, () => pieces[random(pieces.length)]).join("")}`;
      let path: string;
      try {
        path = anywhere("GET", raw).path.replace(/\?.*$/, "");
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        continue;
      }
      passed++;
      let again = path;
      for (let decoding = 0; decoding < 3; decoding++) {
        // Not `expect`, whose cost sixty thousand times is seconds.
        const { pathname } = new URL(`https://graph.example${again}`);
        if (!/^\/v1\.0(\/|$)/.test(pathname) || again.replaceAll("\\", "/").split("/").includes(".."))
          throw new Error(`${raw} leads to ${again}`);
        again = again.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
          String.fromCharCode(Number.parseInt(hex, 16)),
        );
      }
    }
    expect(passed).toBeGreaterThan(1000);
  });
});
