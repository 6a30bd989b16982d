import { describe, expect, test } from "@jest/globals";
import type { ServedCodeRoute } from "../../src/http/code-route.ts";
import { codeRouteFaults, servedRoutes } from "../../src/http/route-table.ts";

const code = (changes: Partial<ServedCodeRoute>): ServedCodeRoute => ({
  method: "get",
  path: "/api/notes",
  policy: { callers: "user", requiredScopes: ["read"], requiredRoles: [], allowedClients: [] },
  uses: [],
  handler() {},
  ...changes,
});
const forwarding = (path: string) => ({ target: { path, methods: ["GET", "POST"] }, api: { name: "graph" } });
const apis = { graph: { scopes: ["https://graph.microsoft.com/.default"] } };

const faultsOf = (coded: readonly ServedCodeRoute[], mounts: readonly string[] = []) =>
  codeRouteFaults(coded, mounts.map(forwarding), apis).map(({ path, problem }) => `${path}: ${problem}`);

test("the list of routes names path, methods and what answers", () => {
  expect(
    servedRoutes([forwarding("/graph")], [code({}), code({ path: "/api/me", method: "post", name: "me" })]),
  ).toEqual([
    { path: "/api/me", methods: ["POST"], answeredBy: "handler me" },
    { path: "/api/notes", methods: ["GET", "HEAD"], answeredBy: "code" },
    { path: "/graph/**", methods: ["GET", "POST"], answeredBy: "API graph" },
  ]);
});

describe("a route in code and a forwarding route that meet are a fault:", () => {
  test.each([
    ["the same path", "/api/notes", ["/api/notes"]],
    ["code inside the forwarding route", "/api/notes", ["/api"]],
    ["a parameter that could stand for the forwarding route", "/api/:name", ["/api/notes"]],
    ["a wildcard around it", "/api/*rest", ["/api/notes/deep"]],
  ])("%s", (_, path, mounts) => {
    expect(faultsOf([code({ path })], mounts)).toEqual([
      `route GET ${path}: meets the route ${mounts[0]} of gateway.yaml; give one of them another path`,
    ]);
  });

  test.each([
    ["beside it", "/api/notes", ["/api/note", "/ap", "/api/notes-old"]],
    ["around it without a parameter", "/api", ["/api/notes"]],
  ])("but not %s", (_, path, mounts) => {
    expect(faultsOf([code({ path })], mounts)).toEqual([]);
  });

  test("a handler of the file may lie inside a forwarding route, and not around one", () => {
    expect(faultsOf([code({ name: "notes" })], ["/api"])).toEqual([]);
    expect(faultsOf([code({ name: "files", path: "/api/:id" })], ["/api/notes"])).toHaveLength(1);
  });
});

test("two routes in code at one path are a fault for the same method only", () => {
  expect(faultsOf([code({}), code({ method: "post" })])).toEqual([]);
  expect(faultsOf([code({}), code({})])).toEqual(["route GET /api/notes: is there twice"]);
});

test("an API that a route in code uses has to be configured", () => {
  expect(faultsOf([code({ uses: ["graph", "orders", "constructor"] })])).toEqual([
    "downstreamApis.orders: is missing; the route GET /api/notes uses it",
    "downstreamApis.constructor: is missing; the route GET /api/notes uses it",
  ]);
});

describe("a route in code that acts as the application", () => {
  const policy = {
    callers: "user" as const,
    requiredScopes: [] as string[],
    requiredRoles: [] as string[],
    allowedClients: [] as string[],
  };

  test("has to say to whom it lends the gateway's permissions", () => {
    expect(faultsOf([code({ as: "app", policy })])[0]).toMatch(/^route GET \/api\/notes: lends/);
    expect(faultsOf([code({ as: "app", policy: { ...policy, requiredScopes: ["read"] } })])).toEqual([]);
  });

  test("has to name roles or clients where applications may call", () => {
    const any = { ...policy, callers: "any" as const, requiredScopes: ["read"] };
    expect(faultsOf([code({ as: "app", policy: any })])[0]).toMatch(/hold no scopes/);
    expect(faultsOf([code({ as: "app", policy: { ...any, requiredRoles: ["Run"] } })])).toEqual([]);
  });

  test("needs one scope that ends in /.default", () => {
    const two = { graph: { scopes: ["https://graph.microsoft.com/User.Read"] } };
    const route = code({ as: "app", uses: ["graph"] });
    expect(codeRouteFaults([route], [], two).map(({ path }) => path)).toEqual([
      "downstreamApis.graph.scopes",
    ]);
    expect(codeRouteFaults([route], [], apis)).toEqual([]);
  });
});

test("a route in code that does not act as the application admits users only", () => {
  const policy = { callers: "any" as const, requiredScopes: [], requiredRoles: [], allowedClients: [] };
  expect(faultsOf([code({ policy, uses: ["graph"] })])[0]).toMatch(/admits applications/);
});
