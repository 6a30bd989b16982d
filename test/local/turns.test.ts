/** Whose turn a request to the local API takes: that of its user, or one for the programs beside the gateway, never that of the public's strangers. */

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { createTestGateway, type TestGateway } from "../testing/gateway.ts";
import { ask, bearer, LOCAL_YAML } from "./support.ts";

let emulator: Emulator;
let gateway: TestGateway;
const servers: Server[] = [];
/** Owner of the turn that the latest request took. */
let owner: string | undefined;
let publicUrl: string;
let localUrl: string;

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await createTestGateway({ emulator, yaml: LOCAL_YAML, env: { LOCAL_PORT: "0" } });
  const { local } = gateway;
  if (local === undefined) throw new Error("the gateway has no local API");
  const listening = async (side: Pick<TestGateway, "guard">, listener: TestGateway["app"]) => {
    const server = createServer((request, response) => {
      owner = side.guard.recognize?.(request);
      listener(request, response);
    }).listen(0, "127.0.0.1");
    servers.push(server);
    await once(server, "listening");
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  publicUrl = await listening(gateway, gateway.app);
  localUrl = await listening(local as unknown as Pick<TestGateway, "guard">, local.listener);
});
afterAll(async () => {
  for (const server of servers) server.close();
  await gateway.close();
  await emulator.close();
});

const ownerAt = async (url: string, path: string, headers: Record<string, string> = {}) => {
  await ask(url, path, { headers });
  return owner;
};

test("a flood of unknown callers of the public side does not stand in front of programs beside the gateway", async () => {
  expect(await ownerAt(publicUrl, "/graph/me", bearer("unknown"))).toBeUndefined();
  const paths = ["/api/v1/token/exchange", "/api/v1/token", "/AuthorizationHeader/graph", "/Validate"];
  const owners = [];
  for (const path of paths) owners.push(await ownerAt(localUrl, path));
  expect(new Set(owners)).toEqual(new Set([expect.any(String)]));
});

test("a question of forward-auth is its caller's: a stranger is one here as well, and a known user the same", async () => {
  const stranger = { ...bearer("unknown"), "x-original-uri": "/graph/me", "x-original-method": "GET" };
  expect(await ownerAt(localUrl, "/forward-auth/graph", stranger)).toBeUndefined();
  const user = bearer(emulator.mintUserToken({ user: "ada" }));
  await ask(publicUrl, "/graph/me", { headers: user });
  const known = await ownerAt(publicUrl, "/graph/me", user);
  expect(known).toContain(emulator.users.ada.objectId);
  expect(await ownerAt(localUrl, "/forward-auth/graph", { ...stranger, ...user })).toBe(known);
  expect(await ownerAt(localUrl, "/AuthorizationHeader/graph", user)).toBe(known);
});
