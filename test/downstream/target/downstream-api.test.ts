import { describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions, TargetRules } from "../../../src/downstream/contract.ts";
import {
  belowBase,
  compileTarget,
  isGraph,
  joinBase,
  namesBatch,
  readBaseUrl,
  readsOData,
} from "../../../src/downstream/target/downstream-api.ts";
import { ConfigurationError } from "../../../src/errors.ts";
import { refusal } from "../../support/refusal.ts";
import { apiAt } from "../api-options.ts";

const https = (overrides: Partial<DownstreamApiOptions> = {}) =>
  apiAt(443, { baseUrl: "https://api.example/v1.0", allowPrivateNetwork: false, ...overrides });
const rules: TargetRules = { path: "/graph", methods: ["GET"], allow: ["/**"] };

function faults(act: () => unknown) {
  try {
    act();
  } catch (error) {
    if (error instanceof ConfigurationError) return error.faults;
    throw error;
  }
  throw new Error("was taken");
}

describe("the kind of an API", () => {
  test.each([
    ["https://graph.microsoft.com/v1.0", true],
    ["https://graph.microsoft.us", true],
    ["https://dod-graph.microsoft.us/beta", true],
    ["https://microsoftgraph.chinacloudapi.cn/v1.0", true],
    ["https://graph.microsoft.com.evil.example", false],
    ["https://agraph.microsoft.com", false],
    ["https://microsoft.com", false],
    ["https://api.example/graph.microsoft.com", false],
  ])("follows from the host where nothing is configured: %s", (baseUrl, graph) => {
    expect([isGraph({ baseUrl }), readsOData({ baseUrl })]).toEqual([graph, graph]);
  });

  test.each([
    ["graph", true, true],
    ["odata", false, true],
    ["plain", false, false],
  ] as const)("is the configured one, whatever the host: %s", (kind, graph, odata) => {
    for (const baseUrl of ["https://graph.microsoft.com/v1.0", "https://api.example"])
      expect([isGraph({ kind, baseUrl }), readsOData({ kind, baseUrl })]).toEqual([graph, odata]);
  });
});

describe("a fault of the configuration names its setting", () => {
  test.each(["TRACE", "CONNECT"])("the methods of the route: %s", (method) => {
    expect(faults(() => compileTarget(https(), { ...rules, methods: ["GET", method] }))).toEqual([
      { path: "routes(/graph).methods", problem: `${method} cannot be forwarded` },
    ]);
  });

  test("the patterns of the route", () => {
    expect(faults(() => compileTarget(https(), { ...rules, allow: ["/me", "me"] }))).toEqual([
      { path: "routes(/graph).allow", problem: 'must begin with "/"' },
    ]);
  });

  test("and what is no fault of it is thrown as it is", () => {
    expect(() => compileTarget(https(), { ...rules, allow: [7 as unknown as string] })).toThrow(TypeError);
  });

  test("the header fields of the API", () => {
    const api = https({ headers: { request: { allow: ["host"] } } });
    expect(faults(() => compileTarget(api, rules))[0]?.path).toBe(
      "downstreamApis.graph.headers.request.allow",
    );
  });

  test.each([
    ["graph.example", "must be an absolute URL"],
    ["ftp://graph.example", "must begin with https:// (http:// only with allowPrivateNetwork: true)"],
    ["http://graph.example", "must begin with https:// (http:// only with allowPrivateNetwork: true)"],
    ...[
      "https://user@a.example",
      "https://:secret@a.example",
      "https://a.example?",
      "https://a.example#",
    ].map((baseUrl) => [baseUrl, "must hold neither user information nor a query nor a fragment"]),
  ])("the base URL: %s", (baseUrl, problem) => {
    expect(faults(() => readBaseUrl(https({ baseUrl })))).toEqual([
      { path: "downstreamApis.graph.baseUrl", problem },
    ]);
  });

  test("the base URL is no ftp address with leave for private networks either", () => {
    expect(() => readBaseUrl(https({ baseUrl: "ftp://a.example", allowPrivateNetwork: true }))).toThrow(
      ConfigurationError,
    );
  });
});

describe("a base", () => {
  test("is an origin, and a path without the slashes at its end", () => {
    expect(readBaseUrl(https({ baseUrl: "https://API.example:443/a//b//" }))).toEqual({
      origin: "https://api.example",
      path: "/a//b",
    });
    expect(readBaseUrl(https({ baseUrl: "https://api.example" }))).toEqual({
      origin: "https://api.example",
      path: "",
    });
  });

  const base = { origin: "https://api.example", path: "/v1.0" };
  const root = { origin: "https://api.example", path: "" };

  test.each([
    [base, "", "/v1.0"],
    [base, "/", "/v1.0/"],
    [base, "/me", "/v1.0/me"],
    [root, "", "/"],
    [root, "/me", "/me"],
  ])("%j is joined with %j", (to, path, joined) => {
    expect(joinBase(to, path)).toBe(joined);
  });

  test.each([
    [base, "x"],
    [base, ".evil.example"],
    [base, "/../admin"],
    [base, "/./me"],
    [base, "/%2e%2e/admin"],
    [base, "/a b"],
    [base, "/a?x"],
    [base, "/a#x"],
    [root, "x"],
    [root, ".evil.example"],
    [root, "@evil.example/"],
  ])("%j is joined with nothing that the URL parser would read in another way: %j", (to, path) => {
    expect(refusal(() => joinBase(to, path))).toEqual({ code: "target_forbidden", reason: "outside_base" });
  });

  test("is taken off a path that lies below it", () => {
    expect(belowBase(base, "/v1.0/me")).toBe("/me");
    expect(belowBase(base, "/v1.0/")).toBe("/");
    expect(belowBase(root, "/me")).toBe("/me");
  });

  test.each(["/v1.0", "/v1.00/me", "/v2.0/me", "", "v1.0/me"])(
    "is not taken off a path beside it: %j",
    (path) => {
      expect(refusal(() => belowBase(base, path))).toEqual({
        code: "target_forbidden",
        reason: "outside_base",
      });
    },
  );
});

describe("a redirect", () => {
  const following = https({ followRedirects: true });

  test.each([
    ["/graph", "/v1.0/me/photo?x=1", "/v1.0/me/photo?x=1"],
    ["/", "/v1.0/users/1", "/v1.0/users/1"],
  ])("is measured by the rules of the route at %s once more", (path, location, expected) => {
    const check = compileTarget(following, { ...rules, path, allow: ["/me", "/me/*", "/users/1"] });
    const target = check("GET", path === "/" ? "/me" : "/graph/me");
    const next = target.redirected?.(location);
    expect(next).toMatchObject({ api: following, origin: "https://api.example", path: expected });
    expect(next?.redirected?.("/v1.0/me").path).toBe("/v1.0/me");
    expect(refusal(() => target.redirected?.("/v1.0/groups"))).toEqual({
      code: "target_forbidden",
      reason: "not_allowed",
    });
    expect(refusal(() => target.redirected?.("/beta/me"))?.reason).toBe("outside_base");
  });

  test.each([undefined, false])("has no target where redirects are not followed: %p", (followRedirects) => {
    const api = { ...https(), ...(followRedirects === undefined ? {} : { followRedirects }) };
    expect(compileTarget(api, rules)("GET", "/graph/me")).not.toHaveProperty("redirected");
  });
});

describe("a target that was let through", () => {
  test("is resolved once, as long as few others come", () => {
    const check = compileTarget(https(), rules);
    const first = check("GET", "/graph/me?x=1");
    expect(check("GET", "/graph/me?x=1")).toBe(first);
    expect(check("GET", "/graph/me?x=2")).not.toBe(first);
  });

  test("is resolved anew when it is long: 256 characters are the most", () => {
    const check = compileTarget(https(), rules);
    const raw = (length: number) => `/graph/${"a".repeat(length - 7)}`;
    expect(check("GET", raw(256))).toBe(check("GET", raw(256)));
    expect(check("GET", raw(257))).not.toBe(check("GET", raw(257)));
    expect(check("GET", raw(257))).toEqual(check("GET", raw(257)));
  });

  test("makes room for others: 512 are the most", () => {
    const check = compileTarget(https(), rules);
    const first = check("GET", "/graph/0");
    for (let index = 1; index < 512; index++) check("GET", `/graph/${index}`);
    expect(check("GET", "/graph/0")).toBe(first);
    check("GET", "/graph/512");
    expect(check("GET", "/graph/0")).not.toBe(first);
  });

  test("is still refused with another method", () => {
    const check = compileTarget(https(), rules);
    check("GET", "/graph/me");
    expect(refusal(() => check("POST", "/graph/me"))?.code).toBe("method_not_allowed");
  });
});

describe("a mount", () => {
  const opaque = https({ encodedSlashes: "pass" });

  test("is no segment that servers could read in two ways", () => {
    const check = compileTarget(opaque, { ...rules, path: "/a/b" });
    expect(check("GET", "/a/b/c").path).toBe("/v1.0/c");
    expect(refusal(() => check("GET", "/a%2Fb/c"))?.reason).toBe("not_allowed");
    // `%252e` alone decodes once more to a dot.
    expect(refusal(() => compileTarget(opaque, { ...rules, path: "/%41" })("GET", "/%2541/c"))?.reason).toBe(
      "not_allowed",
    );
  });

  test("leaves the marks of the segments below where they belong", () => {
    const check = compileTarget(opaque, { ...rules, path: "/a/b", allow: ["/**/x", "/*/y"] });
    expect(check("GET", "/a/b/c%2Fd/x").path).toBe("/v1.0/c%2Fd/x");
    expect(refusal(() => check("GET", "/a/b/c%2Fd/y"))?.reason).toBe("not_allowed");
    expect(refusal(() => check("GET", "/a/b/c/x%2Fx"))?.reason).toBe("not_allowed");
    expect(check("GET", "/a/b/c/y").path).toBe("/v1.0/c/y");
  });
});

describe("a batch", () => {
  test.each([
    [["$batch"], true],
    [["a", "$Batch"], true],
    [["$batch;v=1"], true],
    [["$batchx"], true],
    [["a$batch"], false],
    [["batch"], false],
    [["x", "%24batch"], true],
  ])("is named by a segment that a lenient server would take for it: %j", (segments, named) => {
    expect(namesBatch({ segments })).toBe(named);
  });

  test.each<[DownstreamApiOptions["kind"], string[], boolean]>([
    ["odata", ["/**"], false],
    ["odata", ["/**", "/$BATCH"], true],
    ["odata", ["/x", "/$batch"], true],
    ["graph", ["/**"], true],
    ["plain", ["/**"], true],
  ])("of an API of kind %s is let through by %j: %p", (kind, allow, passes) => {
    const check = compileTarget(https(kind === undefined ? {} : { kind }), { ...rules, allow });
    if (passes) expect(check("GET", "/graph/$batch").path).toBe("/v1.0/$batch");
    else expect(refusal(() => check("GET", "/graph/$batch"))?.reason).toBe("batch_unopened");
    if (allow.includes("/**")) expect(check("GET", "/graph/me").path).toBe("/v1.0/me");
  });
});

describe("routes mounted below", () => {
  test("are left alone whichever of them is asked for, and only they", () => {
    const check = compileTarget(https(), { ...rules, reserved: ["/graph/a", "/graph/b/c"] });
    for (const path of ["/graph/a", "/graph/a/x", "/graph/b/c", "/graph/b/c/x"])
      expect(refusal(() => check("GET", path))).toEqual({ code: "target_forbidden", reason: "reserved" });
    for (const path of ["/graph/b", "/graph/b/d", "/graph/c/b", "/graph"])
      expect(check("GET", path).path).toMatch(/^\/v1\.0/);
  });
});
