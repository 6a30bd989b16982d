import { describe, expect, test } from "@jest/globals";
import { ConfigurationError } from "../../src/errors.ts";
import { type HandlerRoute, mountHandlers, shippedHandlers } from "../../src/handlers/mount.ts";
import type { RouteHandler } from "../../src/http/code-route.ts";

const policy = {
  callers: "user",
  requiredScopes: ["read"],
  requiredRoles: [],
  allowedClients: [],
} as const;

const route = (changes: Partial<HandlerRoute>): HandlerRoute => ({
  position: "routes[0]",
  path: "/api/profile",
  handler: "profile",
  downstreamApi: undefined,
  allow: undefined,
  methods: ["GET"],
  policy,
  ...changes,
});

function faultsOf(routes: readonly HandlerRoute[], handlers = shippedHandlers): string[] {
  try {
    mountHandlers(routes, handlers);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults.map(({ path, problem }) => `${path}: ${problem}`);
  }
}

test("a handler takes the path, the policy, the limits and the allowed calls of its route", () => {
  const limits = { perUser: { requests: 1, perSeconds: 1 } };
  const [mounted] = mountHandlers([route({ path: "/who", limits, allow: ["/me"] })], shippedHandlers);
  expect(mounted).toMatchObject({
    method: "get",
    path: "/who",
    name: "profile",
    policy,
    limits,
    allow: ["/me"],
  });
});

test("a handler with a parameter is mounted below the path of its route", () => {
  const [mounted] = mountHandlers([route({ path: "/documents", handler: "files" })], shippedHandlers);
  expect(mounted?.path).toBe("/documents/:id");
});

test("an API of another name stands for the one that the handler calls", () => {
  const [mounted] = mountHandlers([route({ downstreamApi: "msgraph" })], shippedHandlers);
  expect(mounted?.apis).toEqual({ graph: "msgraph" });
});

describe("faults of handlers are reported together, each with its place in the file:", () => {
  test("names that no handler has, with the nearest one", () => {
    const faults = faultsOf([
      route({ handler: "profil" }),
      route({ position: "routes[4]", handler: "toString" }),
    ]);
    expect(faults).toEqual([
      'routes[0].handler: no handler named "profil"; did you mean "profile"?',
      'routes[4].handler: no handler named "toString"; there are profile, inbox, files',
    ]);
  });

  test.each<[string, RouteHandler["uses"], string]>([
    ["none", [], "no API"],
    ["two", ["graph", "orders"], "graph, orders"],
  ])("an API for a handler that calls %s", (_, uses, said) => {
    const handlers = { report: { method: "get", uses, handler() {} } as RouteHandler };
    expect(faultsOf([route({ handler: "report", downstreamApi: "graph" })], handlers)).toEqual([
      `routes[0].downstreamApi: cannot be chosen: the handler report calls ${said}`,
    ]);
  });
});
