/** Who shares a window with whom. */

import { expect, test } from "@jest/globals";
import type { Request, Response } from "express";
import type { RateLimitRules } from "../../src/http/contract.ts";
import { openRecord, recordOf } from "../../src/http/pipeline.ts";
import { createPublicRouter, type PublicRouterOptions } from "../../src/http/public-side.ts";
import { createRateLimits } from "../../src/http/rate-limits.ts";
import type { RoutePolicy, VerifiedCaller } from "../../src/identity/contract.ts";
import type { SharedCounters } from "../../src/redis/contract.ts";

const LIMIT = { requests: 5, perSeconds: 60 };
const BOTH = { perUser: LIMIT, perClient: LIMIT };

interface Call {
  readonly gateway?: string;
  readonly path?: string;
  readonly rules?: RateLimitRules;
  readonly own?: RateLimitRules;
  readonly besides?: boolean;
  readonly tenantId?: string;
  readonly objectId?: string;
  readonly clientId?: string;
}

/** The names under which one request is counted in Redis. */
async function windowsOf(call: Call): Promise<string[]> {
  const { gateway = "gateway", path = "/graph", rules = BOTH, own, besides = false } = call;
  const { tenantId = "tenant", objectId = "user", clientId = "client" } = call;
  const names: string[] = [];
  const counters: SharedCounters = {
    nameOf: (subject) => subject,
    async run(_script, name) {
      names.push(name);
      return [1, 60_000];
    },
  };
  const { limit } = createRateLimits({ clientId: gateway, counters, onEvent() {} }).under(rules);
  const request = { headers: {} } as Request;
  const response = { setHeader() {} } as unknown as Response;
  openRecord(request);
  recordOf(request).caller = { principal: { tenantId, objectId, clientId } } as VerifiedCaller;
  for (const handler of limit(path, own, { besides })) await handler(request, response, () => {});
  return names;
}

const sharedWith = async (one: Call, other: Call): Promise<number[]> => {
  const [names, others] = [await windowsOf(one), await windowsOf(other)];
  return names.flatMap((name, index) => (others.includes(name) ? [index] : []));
};
const USER = 0;
const CLIENT = 1;

test.each<[string, Call, number[]]>([
  ["the same caller elsewhere", { path: "/orders" }, [USER, CLIENT]],
  ["another user of the client", { objectId: "another" }, [CLIENT]],
  ["the user with another client", { clientId: "another" }, [USER]],
  ["the same ids in another tenant", { tenantId: "another" }, []],
  ["the same caller at another gateway", { gateway: "another" }, []],
  ["the same caller where the route has a limit for users", { own: { perUser: LIMIT } }, [CLIENT]],
  ["the same caller where the route has limits", { own: BOTH }, []],
  [
    "the same caller once the limits have been changed",
    { rules: { perUser: { ...LIMIT, perSeconds: 30 } } },
    [],
  ],
])("these windows are shared with %s", async (_, other, expected) => {
  expect(await sharedWith({}, other)).toEqual(expected);
});

test("limits that count besides those of a route leave the general ones to the route", async () => {
  const [name, ...others] = await windowsOf({
    path: "/mcp tool send",
    own: { perUser: LIMIT },
    besides: true,
  });
  expect([name?.includes("/mcp tool send"), others]).toEqual([true, []]);
  expect(await windowsOf({ own: {}, besides: true })).toEqual([]);
});

test("routes with limits of their own do not share them with each other", async () => {
  expect(await sharedWith({ own: BOTH }, { own: BOTH, path: "/orders" })).toEqual([]);
});

test("a user and a client of one id are not one", async () => {
  const [user, client] = await windowsOf({ objectId: "same", clientId: "same" });
  expect(user).not.toBe(client);
});

test("two methods at one path of code are two routes, whose limits are counted apart", () => {
  const scopes: string[] = [];
  const route = { path: "/api/notes", policy: {} as RoutePolicy, uses: [], limits: BOTH, handler() {} };
  const options = {
    codeRoutes: [
      { ...route, method: "get" },
      { ...route, method: "post" },
    ],
    limit(scope: string, own?: RateLimitRules) {
      if (own !== undefined) scopes.push(scope);
      return [];
    },
    proxyRoutes: [],
    trustedProxies: [],
    cors: { origins: [], maxAgeSeconds: 0 },
    challenge: { clientId: "gateway" },
  } as unknown as PublicRouterOptions;
  createPublicRouter(options);
  expect(new Set(scopes).size).toBe(2);
});
