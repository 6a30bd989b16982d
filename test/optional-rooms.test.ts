/** Which settings ask for which rooms and files: what is not named here is not loaded. */

import { expect, test } from "@jest/globals";
import type { GatewayConfig } from "../src/config/load.ts";
import { notAskedFor } from "../src/foundation/optional-modules.ts";
import { Secret } from "../src/foundation/secret.ts";
import { type AskingForParts, loadParts } from "../src/http/optional-parts.ts";
import { loadRooms } from "../src/optional-rooms.ts";

const namesIn = (loaded: object) =>
  Object.entries(loaded).flatMap(([name, part]) => ([undefined, notAskedFor].includes(part) ? [] : [name]));

const PLAIN = {
  routes: [{ api: { baseUrl: "https://api.example" } }],
  console: { enabled: false },
  http: { openapi: false },
  exchange: { cache: { redis: { url: new Secret("") } } },
};
const roomsOf = async (changes: object, hasCode = false) => {
  const config = { ...PLAIN, ...changes } as unknown as GatewayConfig;
  return namesIn(await loadRooms({ config, hasCode }));
};

test("routes that only forward ask for no further room", async () => {
  expect(await roomsOf({})).toEqual([]);
});

test.each<[string, object, readonly string[]]>([
  ["mcp", { mcp: {} }, ["createBridge"]],
  ["console.enabled", { console: { enabled: true } }, ["createConsole"]],
  ["delegations", { delegations: {} }, ["createDelegations"]],
  ["local", { local: {} }, ["clients", "createLocalSide", "recognizeLocally"]],
  ["http.openapi", { http: { openapi: true } }, ["openapiDocument"]],
  ["PERMISSIONS_TABLE", { permissionsTable: "/table.json" }, ["watchPermissions"]],
  [
    "exchange.cache.redis.url",
    { exchange: { cache: { redis: { url: new Secret("redis://127.0.0.1") } } } },
    ["openRedis"],
  ],
])("%s asks for its room", async (_, changes, expected) => {
  expect(await roomsOf(changes)).toEqual(expected);
});

test("code that calls APIs asks for their clients", async () => {
  expect(await roomsOf({}, true)).toEqual(["clients"]);
});

test("a room that is used although no setting asked for it is a fault, and never passed over", async () => {
  const { createBridge } = await loadRooms({ config: PLAIN as unknown as GatewayConfig, hasCode: false });
  expect(createBridge).toThrow("no setting asked for");
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
  ["sign-in of MCP clients", { bridge: { endpoints: [] } }, ["mcpSignIn"]],
  ["a route of an MCP server", forwarding({ mcp: true }), ["createMcpGate"]],
  ["a handler that speaks MCP", { codeRoutes: [{ mcp: true }] }, ["createMcpGate"]],
  ["a limit for all routes", { limits: LIMIT }, ["createRateLimits"]],
  ["a limit of one route", forwarding({ limits: LIMIT }), ["createRateLimits"]],
  ["a limit of a route in code", { codeRoutes: [{ limits: LIMIT }] }, ["createRateLimits"]],
  ["a limit of a tool", forwarding({ tools: { limits: { "send*": LIMIT } } }), ["createRateLimits"]],
  ["a second side", { hasSecondSides: true }, ["secondSides"]],
])("%s asks for its file", async (_, changes, expected) => {
  expect(await partsOf(changes)).toEqual(expected);
});
