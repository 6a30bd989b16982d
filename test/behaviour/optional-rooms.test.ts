/** What the first configuration did not ask for is not there, and comes with a later one that does. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

/** Routes that only forward. */
const PLAIN = yamlOf({
  apis: { graph: ["GRAPH_URL", "kind: plain"] },
  routes: [
    '{ path: /graph, downstreamApi: graph, methods: [GET, POST], allow: ["/me", "/me/**", "/$batch"] }',
  ],
  sections: ["http:", "  publicUrl: https://gateway.example", "  shutdownGraceSeconds: 2"],
});
const withRoute = (route: string) => PLAIN.replace("http:\n", `  - ${route}\nhttp:\n`);

let emulator: Emulator;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: PLAIN });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});

const token = () => emulator.mintUserToken({ user: "ada" });
const batch = () =>
  gateway
    .send("post", "/graph/$batch", token())
    .send({ requests: [{ id: "1", method: "GET", url: "/me/messages" }] });
const send = (path: string, body: string) =>
  gateway.send("post", path, token()).set("content-type", "application/json").send(body);

async function seen() {
  const [page, description, handler, message] = await Promise.all([
    gateway.get("/graph/me/messages?$top=1", token()),
    gateway.get("/.well-known/openapi.json"),
    gateway.get("/api/profile", token()),
    send("/mcp", "no message"),
  ]);
  return {
    rewritesLinks: String(page.body["@odata.nextLink"]).startsWith("https://gateway.example/graph/"),
    limits: page.headers.ratelimit !== undefined,
    describes: description.status === 200,
    profile: handler.status,
    message: message.body.error?.code,
  };
}

const NOTHING = {
  rewritesLinks: false,
  limits: false,
  describes: false,
  profile: 404,
  message: undefined,
};

test("without a setting that asks for it, nothing rewrites, limits, describes or reads messages", async () => {
  expect(await seen()).toEqual(NOTHING);
});

test.each<[string, string, Partial<Awaited<ReturnType<typeof seen>>>]>([
  ["kind: odata", PLAIN.replace("kind: plain", "kind: odata"), { rewritesLinks: true }],
  ["http.openapi", PLAIN.replace("http:\n", "http:\n  openapi: true\n"), { describes: true }],
  ["limits", `${PLAIN}limits: { perUser: { requests: 1000, perSeconds: 60 } }\n`, { limits: true }],
  ["a handler", withRoute("{ path: /api/profile, handler: profile }"), { profile: 200 }],
  [
    "a route of an MCP server",
    withRoute("{ path: /mcp, downstreamApi: graph, mcp: true }"),
    { message: -32700 },
  ],
])("%s is there from the configuration on that asks for it, and gone after", async (_, yaml, expected) => {
  expect(await gateway.reconfigure(yaml)).toMatchObject({ outcome: "taken_over" });
  expect(await seen()).toMatchObject(expected);
  expect(await gateway.reconfigure(PLAIN)).toMatchObject({ outcome: "taken_over" });
  expect(await seen()).toEqual(NOTHING);
});

test("the parts of a batch are checked from the configuration on that says kind: graph", async () => {
  const graph = PLAIN.replace("kind: plain", "kind: graph").replace('"/me/**", ', "");
  await gateway.reconfigure(graph);
  const answer = await batch();
  expect([answer.status, answer.body.code]).toEqual([403, "target_forbidden"]);
  await gateway.reconfigure(PLAIN);
  expect((await batch()).body.code).not.toBe("target_forbidden");
});
