/** Which settings ask for which rooms and files: what is not named here is not loaded. */

import { expect, test } from "@jest/globals";
import type { GatewayConfig } from "../src/config/load.ts";
import { Secret } from "../src/foundation/secret.ts";
import { type AskingForParts, loadParts } from "../src/http/optional-parts.ts";
import { loadRooms } from "../src/optional-rooms.ts";

const namesIn = (loaded: object) =>
  Object.entries(loaded).flatMap(([name, module]) => (module === undefined ? [] : [name]));

const roomsOf = async (changes: object, hasCode = false) => {
  const plain = {
    routes: [{ api: { baseUrl: "https://api.example" } }],
    console: { enabled: false },
    http: { openapi: false },
    exchange: { cache: { redis: { url: new Secret("") } } },
  };
  const config = { ...plain, ...changes } as unknown as GatewayConfig;
  return namesIn(await loadRooms({ config, hasCode }));
};

test("routes that only forward ask for no further room", async () => {
  expect(await roomsOf({})).toEqual([]);
});

test.each<[string, object, readonly string[]]>([
  ["mcp", { mcp: {} }, ["bridge"]],
  ["console.enabled", { console: { enabled: true } }, ["console"]],
  ["delegations", { delegations: {} }, ["delegations"]],
  ["local", { local: {} }, ["clients", "local"]],
  ["http.openapi", { http: { openapi: true } }, ["openapi"]],
  ["PERMISSIONS_TABLE", { permissionsTable: "/table.json" }, ["permissions"]],
  [
    "exchange.cache.redis.url",
    { exchange: { cache: { redis: { url: new Secret("redis://127.0.0.1") } } } },
    ["redis"],
  ],
])("%s asks for its room", async (_, changes, expected) => {
  expect(await roomsOf(changes)).toEqual(expected);
});

test("code that calls APIs asks for their clients", async () => {
  expect(await roomsOf({}, true)).toEqual(["clients"]);
});

const LIMIT = { perUser: { requests: 1, perSeconds: 1 } };
const partsOf = async (changes: object) => {
  const plain = {
    proxyRoutes: [{ api: { baseUrl: "https://api.example" } }],
    codeRoutes: [{}],
    limits: {},
    bridge: undefined,
    hasSecondSides: false,
  };
  return namesIn(await loadParts({ ...plain, ...changes } as unknown as AskingForParts));
};
const forwarding = (changes: object) => ({
  proxyRoutes: [{ api: { baseUrl: "https://api.example" }, ...changes }],
});

test("routes without limits and tools ask for no further file of the public side", async () => {
  expect(await partsOf({})).toEqual([]);
});

test.each<[string, object, readonly string[]]>([
  ["sign-in of MCP clients", { bridge: {} }, ["mcpChallenges", "mcpEndpoints"]],
  ["a route of an MCP server", forwarding({ mcp: true }), ["mcpGate"]],
  ["a handler that speaks MCP", { codeRoutes: [{ mcp: true }] }, ["mcpGate"]],
  ["a limit for all routes", { limits: LIMIT }, ["rateLimits"]],
  ["a limit of one route", forwarding({ limits: LIMIT }), ["rateLimits"]],
  ["a limit of a route in code", { codeRoutes: [{ limits: LIMIT }] }, ["rateLimits"]],
  ["a limit of a tool", forwarding({ tools: { limits: { "send*": LIMIT } } }), ["rateLimits"]],
  ["a second side", { hasSecondSides: true }, ["secondSides"]],
])("%s asks for its file", async (_, changes, expected) => {
  expect(await partsOf(changes)).toEqual(expected);
});
