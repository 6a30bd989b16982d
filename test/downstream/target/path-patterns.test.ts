import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions } from "../../../src/downstream/contract.ts";
import { compileTarget } from "../../../src/downstream/target/downstream-api.ts";
import { compilePathPatterns } from "../../../src/downstream/target/path-patterns.ts";
import { ConfigurationError, GatewayError } from "../../../src/errors.ts";
import { apiAt } from "../api-options.ts";

type Kind = "graph" | "odata" | "plain";

/** The path that reaches the API, or the reason of the refusal. */
function outcome(
  allow: readonly string[],
  path: string,
  options: Partial<DownstreamApiOptions> = {},
): { readonly path: string } | { readonly code: string; readonly reason: string | undefined } {
  const check = compileTarget(apiAt(1, options), { path: "/api", methods: ["GET"], allow });
  try {
    return { path: check("GET", `/api${path}`).path };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return { code: error.code, reason: error.reason };
  }
}
const passes = (allow: readonly string[], path: string, options: Partial<DownstreamApiOptions>) =>
  "path" in outcome(allow, path, options);

const page = readFileSync(new URL("../../../docs/path-patterns.md", import.meta.url), "utf8");
const examples = [...page.matchAll(/^\| `(\S.*?)` \| (graph|odata|plain) \| `(.*?)` \| (yes|no) \|$/gm)];

describe("the documented examples", () => {
  test("are twenty at least", () => {
    expect(examples.length).toBeGreaterThanOrEqual(20);
  });

  test.each(
    examples.map(([, pattern = "", kind = "", path = "", passed = ""]) => [pattern, kind, path, passed]),
  )("%s (%s), asked for %s: %s", (pattern, kind, path, passed) => {
    const expected =
      passed === "yes" ? { path: `/v1.0${path}` } : { code: "target_forbidden", reason: "not_allowed" };
    expect(outcome([pattern], path, { kind: kind as Kind })).toEqual(expected);
  });
});

describe("a pattern", () => {
  test.each<[pattern: string, kind: Kind, path: string, expected: boolean]>([
    ["/users/*", "graph", "/users('ada@contoso.com')", true],
    ["/users/*", "graph", "/users(%27ada@contoso.com%27)", true],
    ["/users/*", "graph", "/users%28'1'%29", true],
    ["/users/*", "graph", "/users(1)", true],
    ["/users/*", "graph", "/users(AAMk-_=)", true],
    ["/users/*", "graph", "/users(mail='ada@contoso.com')", true],
    ["/users/*", "graph", "/users('1')/messages", false],
    ["/users/*", "graph", "/users()", false],
    ["/users", "graph", "/users()", true],
    ["/users", "graph", "/users('1')", false],
    ["/users/O'Neil", "graph", "/users('O''Neil')", true],
    ["/users('O''Neil')", "graph", "/users/O'Neil", true],
    ["/users/*", "graph", "/users('1')('2')", false],
    ["/users/*", "graph", "/users('1'", false],
    ["/users/*", "graph", "/users'1')", false],
    ["/users/*", "graph", "/users('1')x", false],
    ["/users/*", "graph", "/users(%20'1'%20)", true],
    ["/users/**", "graph", "/users('1'", false],
    ["/**", "graph", "/users('1'", true],
    ["/*/*", "graph", "/users%EF%BC%88'1'%EF%BC%89", false],
    ["/*", "graph", "/users('1')", false],
    ["/*/messages", "graph", "/users('1')/messages", false],
    ["/users/*/messages", "graph", "/USERS/1/Messages", true],
    ["/users/*/messages", "graph", "/users/1/me%E2%84%AAages", false],
    ["/deviceManagement/x", "graph", "/devicemanagement/X", true],
    ["/\u006bey", "graph", "/%E2%84%AAey", false],
    ["/sites/AQ-1x", "graph", "/sites/aq-1x", false],
    ["/users('AbC')", "graph", "/users('abc')", false],
    ["/users/*/messages", "odata", "/users/1/Messages", false],
    ["/Products(ID='*')", "odata", "/Products(ID=1)", true],
    ["/Products(ID='*')", "odata", "/Products(Other=1)", false],
    ["/Products(ID='*')", "odata", "/Products(ID=1,ID=2)", false],
    ["/Products(ID='*')", "odata", "/Products/1", false],
    ["/Products/*", "odata", "/Products(ID=1)", true],
    ["/Products('*')", "odata", "/Products(guid'00000000-0000-0000-0000-000000000000')", true],
    ["/Products('*')", "odata", "/Products/$count", false],
    ["/Products('*')", "odata", "/Products/Namespace.Type", false],
    ["/Products('*')", "odata", "/Products/delta()", false],
    ["/F(ids='*')", "odata", "/F(ids=['a','b,c'])", true],
    ["/F(ids='*')", "odata", "/F(ids=['a','b)", false],
    ["/F(x=@p)", "odata", "/F(x=@p)?@p=1", true],
    ["/_api/web/*/Files", "odata", "/_api/web/GetFolderByServerRelativeUrl('/sites/dev')/Files", false],
    ["/_api/web/**", "odata", "/_api/web/GetFolderByServerRelativeUrl('/sites/dev')/Files", true],
    ["/sites/*", "graph", "/sites('contoso.sharepoint.com')", true],
    ["/sites('*')", "graph", "/sites/contoso.sharepoint.com", true],
    ["/me/drive/root:/**", "graph", "/me/drive/root:/a(1)/b('2').txt:/content", true],
    ["/me/drive/root:/a(1)/b.txt:/content", "graph", "/me/drive/root:/a(1)/b.txt:/content", true],
    ["/me/drive/root:/a/*/b.txt:/content", "graph", "/me/drive/root:/a(1)/b.txt:/content", false],
  ])("%s (%s), asked for %s, answers %s", (pattern, kind, path, expected) => {
    expect(passes([pattern], path, { kind })).toBe(expected);
  });

  test.each<[string, Kind]>([
    ["/users('a*')", "graph"],
    ["/users(*)(*)", "graph"],
    ["/users('*", "graph"],
    ["/F(x='a/b')", "odata"],
    ["/users(a='b*')", "odata"],
    ["/us*ers('1')", "graph"],
    ["/users('*')", "plain"],
  ])("%s is a configuration fault for an API of kind %s", (pattern, kind) => {
    expect(() => outcome([pattern], "/x", { kind })).toThrow(ConfigurationError);
  });

  test("of a batch alone lets one through to an OData API whose batches are not opened", () => {
    expect(outcome(["/**"], "/$batch", { kind: "odata" })).toMatchObject({ reason: "batch_unopened" });
    expect(outcome(["/**"], "/%24Batch;x=1", { kind: "odata" })).toMatchObject({ reason: "batch_unopened" });
    expect(passes(["/**", "/$batch"], "/$batch", { kind: "odata" })).toBe(true);
  });

  test("does not lead past a route that is mounted below, in whatever way a key is written", () => {
    const outer = compileTarget(apiAt(1, { kind: "graph", encodedSlashes: "pass" }), {
      path: "/api",
      methods: ["GET"],
      allow: ["/**"],
      reserved: ["/api/users/admin"],
    });
    for (const path of [
      "/users('admin')",
      "/users(admin)/x",
      "/users%2Fadmin",
      "/Users/%61dmin",
      "/users/%2561dmin",
    ]) {
      expect(() => outer("GET", `/api${path}`)).toThrow("not among those");
    }
    expect(outer("GET", "/api/users('1')").path).toBe("/v1.0/users('1')");
  });
});

describe("patterns by themselves", () => {
  const plain = (text: string) => ({ kind: "segment" as const, text, isCall: false });

  test("name plain paths unless told otherwise", () => {
    const names = compilePathPatterns(["/a(1)", "/b"]);
    expect([names([plain("a(1)")]), names([plain("b")]), names([plain("B")])]).toEqual([true, true, false]);
  });

  test.each([
    ["me", 'must begin with "/"'],
    ["/%", 'must be a plain, decoded path: "%", "?", "#" and "\\" have no place in it'],
    ["/a//b", "holds an empty segment"],
    ["/a/.", "holds a dot segment"],
    ["/..", "holds a dot segment"],
    ["/a*", `"*" and "**" must stand for whole segments; keys such as ('*') need kind: graph or odata`],
  ])("say what is wrong with them: %s", (pattern, message) => {
    expect(() => compilePathPatterns([pattern])).toThrow(
      expect.objectContaining({ name: "PathPatternError", message }),
    );
  });

  test.each([
    ["/a*", '"*" and "**" must stand for whole segments, or for whole values in parentheses'],
    ["/a(", "holds parentheses that are no key and no arguments"],
    ["/a('x*')", '"*" in parentheses must stand for a whole value'],
  ])("say what is wrong with them for OData: %s", (pattern, message) => {
    expect(() => compilePathPatterns([pattern], "odata")).toThrow(expect.objectContaining({ message }));
  });

  test.each([
    ["/x", "/X", true],
    ["/$count", "/$COUNT", true],
    ["/microsoft.graph.delta", "/Microsoft.Graph.Delta", true],
    ["/a1b", "/A1B", true],
    ["/a12b", "/A12B", false],
    ["/a1", "/A1", false],
    ["/1a", "/1A", false],
    ["/a-b", "/A-B", false],
    ["/a$b", "/A$B", false],
  ])("of Graph read like a name match in any case: %s and %s", (pattern, path, matches) => {
    expect(compilePathPatterns([pattern], "graph")([plain(path.slice(1))])).toBe(matches);
  });
});

describe("an encoded separator", () => {
  const LINES = [
    ["/_api/web/getFileByServerRelativePath(decodedUrl='%2Fsites%2Fdev%2Fa.txt')", "encoded_separator"],
    ["/me/messages/AAMk%252Fz%3D", "double_encoding"],
    ["/me/messages/AAMk%252Fz=", "double_encoding"],
    ["/me/drive/root:/My%2520File.pdf:/content", "double_encoding"],
    ["/a%5Cb", "encoded_separator"],
    ["/a%5cb", "encoded_separator"],
    ["/a%255Cb", "double_encoding"],
    ["/a%255cb", "double_encoding"],
    ["/a%252Fb", "double_encoding"],
  ] as const;

  test.each(LINES)("in %s is refused as %s", (path, reason) => {
    expect(outcome(["/**"], path)).toEqual({ code: "request_malformed", reason });
  });

  test.each(LINES)("in %s passes where configured, as it came, by ** alone", (path, _reason) => {
    const options = { encodedSlashes: "pass" } as const;
    expect(outcome(["/**"], path, options)).toEqual({ path: `/v1.0${path}` });
    const stars = path.slice(1).split("/").fill("*").join("/");
    expect(outcome([`/${stars}`], path, options)).toMatchObject({ reason: "not_allowed" });
  });

  test.each([
    "/a%2F..%2Fb",
    "/..%2Fb",
    "/a%2F%2e%2e",
    "/%2e%2e%5Cb",
    "/%252e%252e%252fb",
    "/%252E%252E%252Fb",
    "/%25252e%25252e/b",
    "/a%2F.%2Fb",
    "/%252E%252E",
    "/%252e",
    "/a%2F%00",
    "/a%2500",
    "/a%250D%250A",
    "/a%25252525252Fb",
    "/me%2F..%2F..%2Fusers",
  ])("does not hide dots or control characters in %s, even where it may pass", (path) => {
    expect(passes(["/**"], path, { encodedSlashes: "pass" })).toBe(false);
    expect(passes(["/**"], path, { encodedSlashes: "refuse" })).toBe(false);
  });

  test.each(["/%252E%252E/x", "/%255Cx", "/%252Fx", "/%2541"])("in %s is malformed by default", (path) => {
    expect(outcome(["/**"], path)).toEqual({ code: "request_malformed", reason: "double_encoding" });
  });
});

/**
 * The language of patterns once more, written from docs/path-patterns.md alone: a path is turned into every list of
 * names that OData gives the same meaning, and a pattern into a regular expression over such lists.
 */
function modelNames(pattern: string, path: string): boolean {
  const elements: string[] = [];
  for (const raw of path.slice(1).split("/")) {
    const text = decodeURIComponent(raw);
    const call = /^(\w[\w.]*)\((?:'((?:[^']|'')*)'|([\w-]*))\)$/.exec(text);
    if (call === null) elements.push(/[()]/.test(text) ? "\u0001" : text);
    else {
      elements.push(call[1] as string);
      const key = call[2]?.replaceAll("''", "'") ?? call[3];
      if (key !== "") elements.push(key as string);
      else if (call[2] !== undefined) elements.push("\u0002");
    }
  }
  const source = pattern
    .slice(1)
    .replace(/\('\*'\)/g, "/*")
    .replace(/\('([^']*)'\)/g, "/$1")
    .split("/")
    .map((part) => {
      if (part === "**") return "(?:/[^/]*)*";
      if (part === "*") return "/[^/\u0001]+";
      return `/${part.replace(/[$.]/g, "\\$&")}`;
    })
    .join("");
  return new RegExp(`^${source}$`, "i").test(`/${elements.join("/")}`);
}

test("no spelling of a path passes that the pattern does not name, and what passes is forwarded as it came", () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  let state = seed;
  const below = (bound: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const oneOf = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const NAMES = ["me", "users", "messages", "mailFolders", "$count", "delta", "x"];
  const PATTERN_PARTS = [
    ...NAMES,
    "*",
    "*",
    "*",
    "**",
    "**",
    "**",
    "users('*')",
    "messages('k')",
    "mailFolders/*",
  ];
  const KEYS = ["k", "AQ-1", "O''Neil", "a b", "*", ""];
  const encode = (text: string) =>
    [...text]
      .map((one) =>
        below(6) === 0 || one === " " ? `%${one.charCodeAt(0).toString(16).padStart(2, "0")}` : one,
      )
      .join("");
  const segment = () => {
    const name = oneOf(NAMES);
    const written = [
      name,
      name.toUpperCase(),
      `${name}('${oneOf(KEYS)}')`,
      `${name}(${oneOf(["k", "1", ""])})`,
      `${name}('k'`,
      `${name}('k')('k')`,
      oneOf(["k", "AQ-1", "(", "')"]),
    ];
    return encode(oneOf(written));
  };
  let passed = 0;
  let refused = 0;
  for (let round = 0; round < 30_000; round++) {
    const pattern = `/${Array.from({ length: 1 + below(4) }, () => oneOf(PATTERN_PARTS)).join("/")}`;
    const path = `/${Array.from({ length: 1 + below(4) }, segment).join("/")}`;
    const got = outcome([pattern], path, { kind: "graph" });
    if ("path" in got) {
      passed++;
      if (got.path !== `/v1.0${path}` || !modelNames(pattern, path)) {
        throw new Error(`seed ${seed}: ${pattern} let ${path} through as ${got.path}`);
      }
    } else refused++;
  }
  expect([passed > 500, refused > 500]).toEqual([true, true]);
});
