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

const policyOf = async (route: CodeRoute) => (await codeRoutesOf(config, { routes: [route] }))[0]?.policy;

test("what a policy leaves out asks for nothing, but that a user calls", async () => {
  const nothing = { requiredScopes: [], requiredRoles: [], allowedClients: [], callers: "user" };
  expect(await policyOf(notes({}))).toEqual(nothing);
  expect(await policyOf(notes({ policy: { requiredScopes: ["read"] } }))).toEqual({
    ...nothing,
    requiredScopes: ["read"],
  });
  expect(await policyOf(notes({ policy: { callers: "any", authContext: "c1" } }))).toEqual({
    ...nothing,
    callers: "any",
    authContext: "c1",
  });
});

test("a policy that names nobody still lends no permission of the gateway", async () => {
  const lending = notes({ as: "app", uses: ["graph"] });
  await expect(codeRoutesOf(config, { routes: [lending] })).rejects.toThrow(ConfigurationError);
  const named = notes({ as: "app", uses: ["graph"], policy: { requiredRoles: ["Run"] } });
  expect(await policyOf(named)).toMatchObject({ requiredRoles: ["Run"], requiredScopes: [] });
});

test("a route at the paths of delegations is a fault while there are delegations, and not without them", async () => {
  const running = { ...config, delegations: {} } as unknown as GatewayConfig;
  const forwarding = (path: string) => ({
    ...running,
    routes: [{ target: { path, methods: ["GET"], allow: ["/me"] }, api: { baseUrl: "https://api.example" } }],
  });
  for (const path of ["/delegations", "/delegations/mine", "/delegations/:id"]) {
    const brought = { routes: [notes({ path })] };
    await expect(codeRoutesOf(running, brought)).rejects.toThrow(ConfigurationError);
    expect(await codeRoutesOf(config, brought)).toHaveLength(1);
    if (path.includes(":")) continue;
    const forwarded = forwarding(path) as unknown as GatewayConfig;
    await expect(codeRoutesOf(forwarded, {})).rejects.toThrow(ConfigurationError);
    expect(await codeRoutesOf({ ...forwarded, delegations: undefined }, {})).toEqual([]);
  }
  expect(await codeRoutesOf(running, { routes: [notes({ path: "/delegations-of-mine" })] })).toHaveLength(1);
});
