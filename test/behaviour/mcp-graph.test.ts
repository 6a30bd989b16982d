/** `handler: graph-mcp`: Graph as three tools, for both SDKs, inside the route's paths, methods and the caller's permissions. */

import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import supertest from "supertest";
import { startEmulator } from "../emulator/emulator.ts";
import { PERMISSION_TABLE } from "../emulator/graph/permissions.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

const yaml = yamlOf({
  apis: { graph: ["GRAPH_URL", "kind: graph"] },
  routes: [
    '{ path: /mcp/graph, handler: graph-mcp, requiredScopes: [access_as_user], allow: ["/me", "/me/**", "/users/*"] }',
    '{ path: /mcp/write, handler: graph-mcp, methods: [GET, POST, PATCH, DELETE], allow: ["/**"], tools: { scopes: { graph_call: [mcp.write] } } }',
  ],
});

let emulator: Emulator;
let gateway: TestGateway;
let unknowing: TestGateway;
let token: string;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({
    emulator,
    yaml,
    env: { PERMISSIONS_TABLE: fileURLToPath(PERMISSION_TABLE) },
  });
  unknowing = await startTestGateway({ emulator, yaml });
  token = emulator.mintUserToken();
});
afterAll(async () => {
  await gateway?.stop();
  await unknowing?.stop();
  await emulator?.close();
});
beforeEach(() => emulator.requests.clear());

type Answer = { isError?: boolean; content: { type: string; text: string }[] };

/** Calls a tool as no SDK would, and reads the result. */
async function run(
  name: string,
  input: object,
  { at = "/mcp/graph", bearer = token, on = gateway } = {},
): Promise<Answer> {
  const { body } = await raw(name, input, { at, bearer, on }).expect(200);
  return body.result ?? { isError: true, content: [{ type: "text", text: JSON.stringify(body.error) }] };
}

function raw(name: string, input: object, { at = "/mcp/graph", bearer = token, on = gateway } = {}) {
  return supertest(on.url)
    .post(at)
    .set({ authorization: `Bearer ${bearer}`, accept: "application/json, text/event-stream" })
    .send({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: input } });
}

const json = ({ content }: Answer) => JSON.parse(content[0]?.text ?? "null");
const cursorOf = ({ content }: Answer) => /"cursor":"([^"]+)"/.exec(content[1]?.text ?? "")?.[1];

async function viaV1<T>(use: (client: ClientV1) => Promise<T>): Promise<T> {
  const client = new ClientV1({ name: "v1", version: "1.0.0" });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new TransportV1(new URL(`${gateway.url}/mcp/graph`), { requestInit }) as never);
  return use(client).finally(() => client.close());
}

async function viaV2<T>(mode: "legacy" | { pin: string }, use: (client: ClientV1) => Promise<T>): Promise<T> {
  const client = new ClientV2({ name: "v2", version: "1.0.0" }, { versionNegotiation: { mode } });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new TransportV2(new URL(`${gateway.url}/mcp/graph`), { requestInit }));
  return use(client as unknown as ClientV1).finally(() => client.close());
}

type Use = (use: (client: ClientV1) => Promise<void>) => Promise<void>;

test.each<[string, Use]>([
  ["v1", viaV1],
  ["v2 in the session era", (use) => viaV2("legacy", use)],
  ["v2 in the stateless era", (use) => viaV2({ pin: "2026-07-28" }, use)],
])("the SDK %s lists three tools and calls Graph as the user", async (_, via) => {
  await via(async (client) => {
    const { tools } = await client.listTools();
    expect(tools.map(({ name, annotations }) => [name, annotations?.readOnlyHint])).toEqual([
      ["graph_search", true],
      ["graph_describe", true],
      ["graph_call", true],
    ]);
    const answer = (await client.callTool({ name: "graph_call", arguments: { path: "/me" } })) as Answer;
    expect(json(answer)).toMatchObject({ id: emulator.user("ada").objectId });
  });
  const called = gateway.logs
    .filter(({ event, tool }) => event === "tool_called" && tool === "graph_call")
    .at(-1);
  expect(called).toMatchObject({
    oid: emulator.user("ada").objectId,
    token: expect.stringMatching(/^[0-9a-f]{8}$/),
  });
  expect(emulator.requests.graph.at(-1)?.path).toBe("/v1.0/me");
});

describe("the search", () => {
  test("finds what the route opens and the caller's token may call, by words", async () => {
    const { operations } = json(await run("graph_search", { query: "messages" }));
    expect(operations[0]).toEqual({
      operation: "GET /me/messages",
      permissions: expect.arrayContaining(["Mail.ReadBasic"]),
    });
    const all = json(await run("graph_search", { limit: 50 })).operations.map(
      ({ operation }: { operation: string }) => operation,
    );
    expect(all).toContain("GET /me");
    expect(all.filter((one: string) => !/^GET \/(me|users\/\{id\})(\/|$)/.test(one))).toEqual([]);
  });

  test("leaves out what the token's permissions do not open", async () => {
    const { operations } = json(await run("graph_search", { limit: 50 }, { at: "/mcp/write" }));
    const listed = operations.map(({ operation }: { operation: string }) => operation);
    expect(listed).toEqual(
      expect.arrayContaining(["POST /me/sendmail", "DELETE /me/messages/{id}", "GET /users"]),
    );
    expect(listed.filter((one: string) => /groups|events/.test(one))).toEqual([]);
    const described = await run("graph_describe", { method: "GET", path: "/groups" }, { at: "/mcp/write" });
    expect(json(described).permissions).toMatchObject({
      granted: false,
      anyOf: expect.arrayContaining(["Group.Read.All", "GroupMember.Read.All"]),
    });
  });

  test("gives its results in pages", async () => {
    const first = json(await run("graph_search", { limit: 2 }));
    const second = json(await run("graph_search", { limit: 2, cursor: first.nextCursor }));
    expect(first.operations).toHaveLength(2);
    expect(second.operations[0]).not.toEqual(first.operations[0]);
    expect(await run("graph_search", { cursor: "x" })).toMatchObject({ isError: true });
  });

  test("without a table it says that it knows paths alone", async () => {
    const { operations, note } = json(await run("graph_search", { query: "me" }, { on: unknowing }));
    expect(operations).toContainEqual({ operation: "GET /me/**" });
    expect(note).toMatch(/names no table/);
    expect(
      json(await run("graph_describe", { method: "GET", path: "/me" }, { on: unknowing })),
    ).toMatchObject({
      known: false,
      patterns: ["GET /me", "GET /me/**", "GET /users/*"],
    });
    expect(json(await run("graph_call", { path: "/me" }, { on: unknowing }))).toMatchObject({
      id: expect.any(String),
    });
  });
});

describe("the description", () => {
  test("names permissions, whether the token has one, and what a call needs", async () => {
    expect(json(await run("graph_describe", { method: "GET", path: "/users/someone" }))).toMatchObject({
      operation: "GET /users/{id}",
      allowed: true,
      permissions: { anyOf: expect.arrayContaining(["User.ReadBasic.All"]), granted: expect.anything() },
      call: { tool: "graph_call", parameters: ["{id}"] },
    });
  });

  test.each([
    [
      "a method that the route does not open",
      { method: "DELETE", path: "/me/messages/{id}" },
      { allowed: false },
    ],
    ["an operation that no table knows", { method: "GET", path: "/me/nothing/of/it" }, { known: false }],
  ])("of %s says so", async (_, input, expected) => {
    expect(json(await run("graph_describe", input))).toMatchObject(expected);
  });
});

describe("a call", () => {
  const writer = () => emulator.mintUserToken({ scopes: ["access_as_user", "mcp.write"] });

  test("takes parameters in the query, in the path, and as people write them", async () => {
    await run("graph_call", { path: "/me/messages?$top=2", query: { $select: "subject", $count: true } });
    await run("graph_call", { path: "/users/ada lovelace", headers: { ConsistencyLevel: "eventual" } });
    const [first, second] = emulator.requests.graph;
    expect(first?.path).toBe("/v1.0/me/messages");
    expect(second?.path).toBe("/v1.0/users/ada%20lovelace");
  });

  test("of a collection comes in pages that a cursor joins, without a gap and without an end", async () => {
    const subjects: string[] = [];
    let input: object = { path: "/me/messages", query: { $top: 7, $select: "subject" } };
    for (let page = 0; page < 10; page += 1) {
      const answer = await run("graph_call", input);
      subjects.push(...json(answer).value.map(({ subject }: { subject: string }) => subject));
      const cursor = cursorOf(answer);
      if (cursor === undefined) break;
      input = { cursor };
    }
    expect(subjects).toHaveLength(23);
    expect(new Set(subjects).size).toBe(23);
  });

  test("writes where the route opens it, and nowhere else", async () => {
    const message = { subject: "x", body: { content: "y" } };
    const refused = await run("graph_call", { method: "POST", path: "/me/messages", body: message });
    expect(refused.isError).toBe(true);
    expect(emulator.requests.graph).toEqual([]);
    const answer = await run(
      "graph_call",
      { method: "POST", path: "/me/sendMail", body: { message } },
      { at: "/mcp/write", bearer: writer() },
    );
    expect(emulator.requests.graph.at(-1)).toMatchObject({ method: "POST", path: "/v1.0/me/sendMail" });
    expect(answer.isError ?? false).toBe(false);
  });

  test("asks for the scope that the route's rules tie to the tool", async () => {
    const { headers } = await raw("graph_call", { path: "/me" }, { at: "/mcp/write" }).expect(403);
    expect(headers["www-authenticate"]).toMatch(/insufficient_scope.*mcp\.write/);
  });

  test.each<[string, object]>([
    ["a path outside of allow", { path: "/groups" }],
    ["a path outside of allow, spelt to look inside", { path: "/me/../groups" }],
    ["the same, encoded", { path: "/me/%2e%2e/groups" }],
    ["another host", { path: "https://evil.example/me" }],
    ["another host without a scheme", { path: "//evil.example/me" }],
    ["a fragment", { path: "/me#x" }],
    ["no path", {}],
    ["a cursor of another making", { cursor: "eyJ4" }],
    ["a cursor for another path", { cursor: Buffer.from('["/groups","",0]').toString("base64url") }],
    ["a cursor beside arguments", { cursor: Buffer.from('["/me","",0]').toString("base64url"), path: "/me" }],
    ["a field that is not open", { path: "/me", headers: { authorization: "Bearer x" } }],
    ["a member that is not known", { path: "/me", url: "x" }],
    ["a path that is no text", { path: ["me"] }],
  ])("with %s is an error that the model reads, and reaches Graph with nothing", async (_, input) => {
    expect((await run("graph_call", input)).isError).toBe(true);
    expect(emulator.requests.graph).toEqual([]);
  });

  test.each(["/$batch", "/%24batch", "/$Batch", "/%2524batch"])(
    "of %s is refused, since its parts pass no rule",
    async (path) => {
      const answer = await run(
        "graph_call",
        { method: "POST", path, body: { requests: [{ id: "1", method: "GET", url: "/me" }] } },
        { at: "/mcp/write", bearer: writer() },
      );
      expect(answer.isError).toBe(true);
      expect(emulator.requests.graph).toEqual([]);
    },
  );

  test("that Graph refuses is an error with Graph's own words", async () => {
    const answer = await run("graph_call", { path: "/me/messages/none" });
    expect(answer.isError).toBe(true);
    expect(answer.content[0]?.text).toMatch(/^Graph answered 404: /);
  });

  test("of bytes says that they are no text", async () => {
    const answer = await run("graph_call", { path: "/me/photo/$value" });
    expect(answer.content[0]?.text).toMatch(/no text/);
  });

  test("whose user has to sign in with more is an HTTP challenge and no result", async () => {
    const cautious = emulator.mintUserToken({ user: "grace", capabilities: ["cp1"] });
    const mfa = emulator.requireMfa("grace");
    try {
      const { headers, body } = await raw("graph_call", { path: "/me" }, { bearer: cautious }).expect(401);
      expect(headers["www-authenticate"]).toMatch(/insufficient_claims/);
      expect(body.code).toBe("claims_challenged");
    } finally {
      mfa.remove();
    }
  });
});

test("the route takes messages alone, keeps no stream open, and refuses what is no message", async () => {
  const bearer = { authorization: `Bearer ${token}` };
  const { headers } = await supertest(gateway.url).get("/mcp/graph").set(bearer).expect(405);
  expect(headers.allow).toBe("POST");
  const { body } = await supertest(gateway.url)
    .post("/mcp/graph")
    .set({ ...bearer, "content-type": "application/json" })
    .send('{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}')
    .expect(400);
  expect(body.error.code).toBe(-32600);
  const listen = await supertest(gateway.url)
    .post("/mcp/graph")
    .set({
      ...bearer,
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "subscriptions/listen",
    })
    .send({
      jsonrpc: "2.0",
      id: 1,
      method: "subscriptions/listen",
      params: {
        notifications: { toolsListChanged: true },
        _meta: {
          "io.modelcontextprotocol/protocolVersion": "2026-07-28",
          "io.modelcontextprotocol/clientInfo": { name: "raw", version: "1" },
          "io.modelcontextprotocol/clientCapabilities": {},
        },
      },
    });
  expect(listen.body.error).toBeDefined();
});

test("a route without allow, or with a table that cannot be read, does not start", async () => {
  const start = (text: string, env = {}) => startTestGateway({ emulator, yaml: text, env });
  await expect(start(yaml.replace(', allow: ["/me", "/me/**", "/users/*"]', ""))).rejects.toThrow(
    /routes\[0\]\.allow: is missing/,
  );
  await expect(start(yaml, { PERMISSIONS_TABLE: "/nowhere.json" })).rejects.toThrow(
    /PERMISSIONS_TABLE: .*cannot be read/,
  );
});

test("a collection of long items is cut to whole items, and one item that is too long says so", async () => {
  const { pieceOf, MAX_RESULT, writeCursor, readCursor } = await import("../../src/mcp/graph/pieces.ts");
  const item = (id: number, length: number) => ({ id, text: "x".repeat(length) });
  const page = JSON.stringify({
    "@odata.context": "c",
    "@odata.count": 4,
    value: [item(1, 20_000), item(2, 20_000), item(3, 90_000), item(4, 1)],
    "@odata.nextLink": "https://graph.example/v1.0/me/messages?$skiptoken=abc&$top=4",
  });
  const ids: number[] = [];
  let at = { path: "/me/messages", query: "$top=4", from: 0 };
  for (;;) {
    const { text, next } = pieceOf(page, at);
    expect(text.length).toBeLessThan(MAX_RESULT * 1.2);
    for (const one of JSON.parse(text).value) ids.push(one.id ?? JSON.parse(`${one.cut.slice(0, 7)}}`).id);
    if (next === undefined) throw new Error("the page leads to another one");
    at = readCursor(writeCursor(next)) ?? at;
    if (at.query !== "$top=4") break;
  }
  expect(ids).toEqual([1, 2, 3, 4]);
  expect(at).toEqual({ path: "/me/messages", query: "$skiptoken=abc&$top=4", from: 0 });
  const long = "y".repeat(MAX_RESULT + 10);
  const slice = pieceOf(long, { path: "/x", query: "", from: 0 });
  expect([slice.text.length, slice.next?.from]).toEqual([MAX_RESULT, MAX_RESULT]);
  expect(pieceOf(long, { path: "/x", query: "", from: MAX_RESULT })).toEqual({
    text: "y".repeat(10),
    next: undefined,
  });
});
