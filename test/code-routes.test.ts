/** Routes in code as programs write them, and as they are served. */

import { expect, test } from "@jest/globals";
import { codeRoutesOf } from "../src/code-routes.ts";
import type { GatewayConfig } from "../src/config/load.ts";
import { ConfigurationError } from "../src/errors.ts";
import { type CodeRoute, codeRoute } from "../src/http/code-route.ts";

const config = {
  routes: [],
  handlerRoutes: [],
  downstreamApis: { graph: { scopes: ["https://graph.microsoft.com/.default"] } },
} as unknown as GatewayConfig;

const notes = (changes: Partial<CodeRoute>) =>
  codeRoute({ method: "get", path: "/notes", policy: {}, uses: [], handler() {}, ...changes });

const policyOf = (route: CodeRoute) => codeRoutesOf(config, { routes: [route] })[0]?.policy;

test("what a policy leaves out asks for nothing, but that a user calls", () => {
  const nothing = { requiredScopes: [], requiredRoles: [], allowedClients: [], callers: "user" };
  expect(policyOf(notes({}))).toEqual(nothing);
  expect(policyOf(notes({ policy: { requiredScopes: ["read"] } }))).toEqual({
    ...nothing,
    requiredScopes: ["read"],
  });
  expect(policyOf(notes({ policy: { callers: "any", authContext: "c1" } }))).toEqual({
    ...nothing,
    callers: "any",
    authContext: "c1",
  });
});

test("a policy that names nobody still lends no permission of the gateway", () => {
  const lending = notes({ as: "app", uses: ["graph"] });
  expect(() => codeRoutesOf(config, { routes: [lending] })).toThrow(ConfigurationError);
  const named = notes({ as: "app", uses: ["graph"], policy: { requiredRoles: ["Run"] } });
  expect(policyOf(named)).toMatchObject({ requiredRoles: ["Run"], requiredScopes: [] });
});

test("a route at the paths of delegations is a fault while there are delegations, and not without them", () => {
  const running = { ...config, delegations: {} } as unknown as GatewayConfig;
  const forwarding = (path: string) => ({
    ...running,
    routes: [{ target: { path, methods: ["GET"], allow: ["/me"] }, api: { baseUrl: "https://api.example" } }],
  });
  for (const path of ["/delegations", "/delegations/mine", "/delegations/:id"]) {
    const brought = { routes: [notes({ path })] };
    expect(() => codeRoutesOf(running, brought)).toThrow(ConfigurationError);
    expect(codeRoutesOf(config, brought)).toHaveLength(1);
    if (path.includes(":")) continue;
    const forwarded = forwarding(path) as unknown as GatewayConfig;
    expect(() => codeRoutesOf(forwarded, {})).toThrow(ConfigurationError);
    expect(codeRoutesOf({ ...forwarded, delegations: undefined }, {})).toEqual([]);
  }
  expect(codeRoutesOf(running, { routes: [notes({ path: "/delegations-of-mine" })] })).toHaveLength(1);
});
