/** Routes to servers of the Model Context Protocol, with the official SDKs as clients and servers from outside this repository. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import supertest from "supertest";
import { z } from "zod";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type EverythingServer, startEverythingServer } from "../support/everything-server.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { type ScriptedMcpServer, startScriptedMcpServer } from "../support/scripted-mcp-server.ts";

const yaml = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
downstreamApis:
  everything: { baseUrl: "\${EVERYTHING_URL}", scopes: [https://graph.microsoft.com/.default], allowPrivateNetwork: true, idleTimeoutMs: 400 }
  stateless: { baseUrl: "\${STATELESS_URL}", scopes: [https://graph.microsoft.com/.default], allowPrivateNetwork: true }
  scripted: { baseUrl: "\${SCRIPTED_URL}", scopes: [https://graph.microsoft.com/.default], allowPrivateNetwork: true, idleTimeoutMs: 300, streamIdleTimeoutMs: 1500, maxRequestBytes: 100000 }
routes:
  - { path: /mcp/everything, downstreamApi: everything, mcp: true, requiredScopes: [access_as_user] }
  - path: /mcp/policed
    downstreamApi: everything
    mcp: true
    requiredScopes: [access_as_user]
    tools:
      allow: [echo, "get-*", "trigger-*"]
      deny: [get-env]
      scopes: { "trigger-*": [mcp.write] }
      limits: { get-sum: { perUser: { requests: 2, perSeconds: 3600 } } }
  - path: /mcp/stateless
    downstreamApi: stateless
    mcp: true
    tools: { deny: [hidden] }
  - { path: /mcp/scripted, downstreamApi: scripted, mcp: true }
  - { path: /mcp/closed, downstreamApi: scripted, mcp: true, tools: { allow: [echo] } }
http:
  cors: { origins: [https://app.example], exposedHeaders: [x-of-mine] }
fairness: { mcpBytes: 1048576, userShare: 0.5 }
`;

let emulator: Emulator;
let everything: EverythingServer;
let scripted: ScriptedMcpServer;
let stateless: { readonly url: string; close(): void };
let gateway: TestGateway;
let token: string;
beforeAll(async () => {
  emulator = await startEmulator();
  [everything, scripted, stateless] = await Promise.all([
    startEverythingServer(),
    startScriptedMcpServer(),
    startStatelessServer(),
  ]);
  gateway = await startTestGateway({
    emulator,
    yaml,
    env: { EVERYTHING_URL: everything.url, SCRIPTED_URL: scripted.url, STATELESS_URL: stateless.url },
  });
  token = emulator.mintUserToken();
});
afterAll(async () => {
  await gateway?.stop();
  stateless?.close();
  scripted?.close();
  await everything?.stop();
  await emulator?.close();
});
beforeEach(() => {
  scripted.received.length = 0;
  scripted.answer((_received, response) => {
    response
      .writeHead(200, { "content-type": "application/json" })
      .end('{"jsonrpc":"2.0","id":1,"result":{}}');
  });
});

/** A server of the stateless era, made with the official SDK. */
async function startStatelessServer() {
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: "stateless", version: "1.0.0" });
    for (const name of ["echo", "hidden"])
      server.registerTool(name, { inputSchema: z.object({ message: z.string() }) }, ({ message }) => ({
        content: [{ type: "text", text: `${name}: ${message}` }],
      }));
    return server;
  });
  const server = createServer(async (request, response) => {
    const { method = "", url = "", headers } = request;
    const answer = await handler.fetch(
      new Request(`http://localhost${url}`, {
        method,
        headers: Object.entries(headers).map(([name, value]) => [name, String(value)] as [string, string]),
        ...(method === "POST" && { body: Readable.toWeb(request) as ReadableStream, duplex: "half" }),
      } as RequestInit),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body === null) response.end();
    else Readable.fromWeb(answer.body as never).pipe(response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const bearer = () => ({ headers: { authorization: `Bearer ${token}` } });
const infoOf = (name: string) => ({ name, version: "1.0.0" });
const at = (path: string) => new URL(`${gateway.url}${path}`);

async function withV1<T>(
  path: string,
  use: (client: ClientV1, transport: TransportV1) => Promise<T>,
): Promise<T> {
  const client = new ClientV1(infoOf("v1"));
  const transport = new TransportV1(at(path), { requestInit: bearer() });
  await client.connect(transport as never);
  try {
    return await use(client, transport);
  } finally {
    await transport.terminateSession();
    await client.close();
  }
}

async function withV2<T>(
  path: string,
  use: (client: ClientV2) => Promise<T>,
  mode: "legacy" | { readonly pin: string } = "legacy",
): Promise<T> {
  const client = new ClientV2(infoOf("v2"), { versionNegotiation: { mode } });
  await client.connect(new TransportV2(at(path), { requestInit: bearer() }));
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

const auditOf = (tool: string) =>
  gateway.logs.filter((line) => line.stream === "audit" && line.tool === tool).at(-1);

async function eventually<T>(look: () => T | undefined): Promise<T> {
  for (let count = 0; count < 200; count += 1) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("what the test waits for did not come");
}

/** A POST as no SDK would send it. */
function post(path: string, body: string, fields: Record<string, string> = {}) {
  return supertest(gateway.url)
    .post(path)
    .set({
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...fields,
    })
    .send(body);
}

const call = (name: string, id: number | string = 1, more = {}) =>
  JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: {}, ...more } });

describe("a server of the session era", () => {
  test.each([
    ["v1", (use: (client: ClientV1) => Promise<void>) => withV1("/mcp/everything", use)],
    ["v2", (use: (client: ClientV1) => Promise<void>) => withV2("/mcp/everything", use as never)],
  ])("is listed, called and left by the SDK %s", async (_, connect) => {
    await connect(async (client) => {
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(["echo", "get-sum", "get-env"]));
      expect(await client.callTool({ name: "get-sum", arguments: { a: 2, b: 3 } })).toMatchObject({
        content: [{ type: "text", text: expect.stringContaining("5") }],
      });
    });
  });

  test("reports progress while a call is under way", async () => {
    const progress: number[] = [];
    await withV1("/mcp/everything", async (client) => {
      await client.callTool(
        { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 4 } },
        undefined,
        { onprogress: (one) => progress.push(one.progress) },
      );
    });
    expect(progress).toEqual([1, 2, 3, 4]);
  });

  test("keeps its quiet stream past the pause that other answers may make", async () => {
    await withV1("/mcp/everything", async (client, transport) => {
      // The SDK opens the stream of the session by itself; a second one is refused by the server.
      const began = Date.now();
      const lines = () =>
        gateway.logs.filter(({ msg, method }) => msg === "request" && method === "GET").length;
      const before = lines();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect(Date.now() - began).toBeGreaterThan(900);
      expect(transport.sessionId).toBeDefined();
      expect(lines()).toBe(before);
      await client.ping();
    });
  });

  test("is taken up again behind the last event that a client has seen", async () => {
    const opened = await post(
      "/mcp/everything",
      JSON.stringify({
        jsonrpc: "2.0",
        id: 0,
        method: "initialize",
        params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: infoOf("raw") },
      }),
    ).expect(200);
    const session = { "mcp-session-id": String(opened.headers["mcp-session-id"]) };
    await post("/mcp/everything", '{"jsonrpc":"2.0","method":"notifications/initialized"}', session).expect(
      202,
    );
    const answered = await post(
      "/mcp/everything",
      JSON.stringify({
        jsonrpc: "2.0",
        id: 7,
        method: "tools/call",
        params: {
          name: "trigger-long-running-operation",
          arguments: { duration: 0.2, steps: 2 },
          _meta: { progressToken: 1 },
        },
      }),
      session,
    ).expect(200);
    const [firstId] = /^id: (.+)$/m.exec(answered.text)?.slice(1) ?? [];
    expect(answered.text.match(/^id: /gm)?.length).toBeGreaterThan(1);

    const resumed = await fetch(at("/mcp/everything"), {
      headers: {
        authorization: `Bearer ${token}`,
        accept: "text/event-stream",
        "last-event-id": String(firstId),
        ...session,
      },
    });
    expect(resumed.status).toBe(200);
    let text = "";
    for await (const chunk of resumed.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString();
      if (text.includes('"id":7')) break;
    }
    expect(text).toContain('"id":7');
    expect(text).not.toContain(`id: ${firstId}\n`);
    await supertest(gateway.url)
      .delete("/mcp/everything")
      .set({ authorization: `Bearer ${token}`, ...session })
      .expect(200);
  });

  test("answers a batch of the oldest era message by message", async () => {
    const { text } = await post(
      "/mcp/scripted",
      `[${call("echo", 1)},{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}},${call("add", "b")}]`,
    ).expect(200);
    expect(text).toContain("result");
    expect(JSON.parse(scripted.received[0]?.body ?? "")).toHaveLength(3);
    const { tool, mcpMethod } = await eventually(() => gateway.logs.find((line) => line.tool === "echo,add"));
    expect([tool, mcpMethod]).toEqual(["echo,add", "batch"]);
  });
});

describe("a server of the stateless era", () => {
  const pinned = { pin: "2026-07-28" };

  test("is called by the SDK v2 with fields that repeat the body, names beyond ASCII among them", async () => {
    await withV2(
      "/mcp/stateless",
      async (client) => {
        expect(await client.callTool({ name: "echo", arguments: { message: "x" } })).toMatchObject({
          content: [{ text: "echo: x" }],
        });
        // The server's own answer: fields and body agreed.
        await expect(client.callTool({ name: "grüße", arguments: {} })).rejects.toThrow(/grüße not found/);
      },
      pinned,
    );
  });

  test("has its closed tools taken out of lists and refused", async () => {
    await withV2(
      "/mcp/stateless",
      async (client) => {
        const { tools } = await client.listTools();
        expect(tools.map(({ name }) => name)).toEqual(["echo"]);
        await expect(client.callTool({ name: "hidden", arguments: { message: "x" } })).rejects.toMatchObject({
          code: -32602,
        });
      },
      pinned,
    );
  });

  const meta = { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } };
  const fields = {
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "echo",
  };
  const without = (name: keyof typeof fields) =>
    Object.fromEntries(Object.entries(fields).filter(([one]) => one !== name));

  test("gets a message whose fields repeat it, with those fields", async () => {
    await post("/mcp/scripted", call("echo", 1, meta), { ...fields, "mcp-param-region": "eu" }).expect(200);
    expect(scripted.received[0]?.headers).toMatchObject({ ...fields, "mcp-param-region": "eu" });
  });

  test.each([
    ["another method", { ...fields, "mcp-method": "tools/list" }],
    ["another tool", { ...fields, "mcp-name": "delete" }],
    ["the tool in other letters", { ...fields, "mcp-name": "Echo" }],
    ["another version", { ...fields, "mcp-protocol-version": "2025-06-18" }],
    ["no method", without("mcp-method")],
    ["no tool", without("mcp-name")],
    ["no version", without("mcp-protocol-version")],
    ["an empty method", { ...fields, "mcp-method": "" }],
    ["a tool in base64 that is none", { ...fields, "mcp-name": "=?base64?ZWNobw?=" }],
    ["a tool in base64 of no UTF-8", { ...fields, "mcp-name": "=?base64?/w==?=" }],
    ["two methods in one field", { ...fields, "mcp-method": "tools/call, tools/call" }],
  ])("gets no message whose fields say %s: −32020", async (_, changed) => {
    const { body } = await post("/mcp/scripted", call("echo", "a", meta), changed).expect(400);
    expect(body).toMatchObject({ jsonrpc: "2.0", id: "a", error: { code: -32020 } });
    expect(scripted.received).toEqual([]);
  });

  test("gets a name in base64 where that is its one spelling", async () => {
    const name = `=?base64?${Buffer.from("grüße").toString("base64")}?=`;
    await post("/mcp/scripted", call("grüße", 1, meta), { ...fields, "mcp-name": name }).expect(200);
    expect(scripted.received).toHaveLength(1);
  });

  test("in the era before, fields may be left out, and have to agree where they are sent", async () => {
    await post("/mcp/scripted", call("echo")).expect(200);
    await post("/mcp/scripted", call("echo"), { "mcp-name": "delete" }).expect(400);
    await post("/mcp/scripted", `[${call("echo")}]`, { "mcp-method": "tools/call" }).expect(400);
    expect(scripted.received).toHaveLength(1);
  });

  test.each(["mcp-session-id", "mcp-protocol-version", "last-event-id"])(
    "a request with two fields %s is not passed on",
    async (name) => {
      const request = post("/mcp/scripted", call("echo"));
      // Two lines of one field, which the client would join.
      request.set(name, ["one", "two"] as never);
      const { body } = await request.expect(400);
      expect(body.reason ?? body.error.data.reason).toMatch(/duplicate_header|mirror_/);
      expect(scripted.received).toEqual([]);
    },
  );
});

describe("the policy on tools", () => {
  test.each([
    ["v1", (use: (client: ClientV1) => Promise<void>) => withV1("/mcp/policed", use)],
    ["v2", (use: (client: ClientV1) => Promise<void>) => withV2("/mcp/policed", use as never)],
  ])(
    "shows the SDK %s no tool that is closed, and refuses its call as of a tool that is not there",
    async (_, connect) => {
      await connect(async (client) => {
        const names = (await client.listTools()).tools.map(({ name }) => name);
        expect(names).toEqual(expect.arrayContaining(["echo", "get-sum", "trigger-long-running-operation"]));
        expect(names).not.toEqual(expect.arrayContaining(["get-env"]));
        expect(names).not.toEqual(expect.arrayContaining(["gzip-file-as-resource"]));
        for (const name of ["get-env", "gzip-file-as-resource", "no-such-tool"])
          await expect(client.callTool({ name, arguments: {} })).rejects.toMatchObject({
            code: -32602,
            message: expect.stringContaining(`opens no tool "${name}"`),
          });
        expect(await client.callTool({ name: "echo", arguments: { message: "hello" } })).toMatchObject({
          content: [{ text: expect.stringContaining("hello") }],
        });
      });
    },
  );

  test("asks for the scope that a tool needs, by insufficient_scope", async () => {
    const { headers, body } = await post("/mcp/policed", call("trigger-long-running-operation")).expect(403);
    expect(headers["www-authenticate"]).toMatch(/error="insufficient_scope".*mcp\.write"/);
    expect(body).toMatchObject({ code: "scope_insufficient" });
    const may = emulator.mintUserToken({ scopes: ["access_as_user", "mcp.write"] });
    await post("/mcp/policed", call("trigger-long-running-operation"), {
      authorization: `Bearer ${may}`,
      "mcp-session-id": "none",
    })
      .expect(400)
      .expect(/No valid session/);
  });

  test("counts the calls of one tool apart from all else", async () => {
    const of = emulator.mintUserToken({ user: "edsger" });
    const fields = { authorization: `Bearer ${of}`, "mcp-session-id": "none" };
    const statuses: number[] = [];
    for (let count = 0; count < 3; count += 1)
      statuses.push((await post("/mcp/policed", call("get-sum"), fields)).status);
    expect(statuses).toEqual([400, 400, 429]);
    expect((await post("/mcp/policed", call("echo"), fields)).status).toBe(400);
    // Another user has calls of its own, and a batch counts each of its own.
    const { status, headers } = await post(
      "/mcp/policed",
      `[${[1, 2, 3].map((id) => call("get-sum", id)).join(",")}]`,
      {
        "mcp-session-id": "none",
      },
    );
    expect([status, Number(headers["retry-after"]) > 0]).toEqual([429, true]);
  });

  test.each([
    ["a batch with one closed tool", `[${call("echo", 1)},${call("rm", 2)}]`, 200, [-32000, -32602]],
    ["a batch with closed tools alone", `[${call("rm", 1)},${call("rm", 2)}]`, 200, [-32602, -32602]],
  ])("sends nothing of %s", async (_, body, status, codes) => {
    const answer = await post("/mcp/closed", body).expect(status);
    expect(answer.body.map(({ error }: { error: { code: number } }) => error.code)).toEqual(codes);
    expect(answer.body.map(({ id }: { id: number }) => id)).toEqual([1, 2]);
    expect(scripted.received).toEqual([]);
  });

  test("sends nothing of a call without an id, which a server might carry out all the same", async () => {
    const { body } = await post(
      "/mcp/closed",
      '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"rm","arguments":{}}}',
    ).expect(403);
    expect(body).toMatchObject({ id: null, error: { code: -32602 } });
    expect(scripted.received).toEqual([]);
  });

  test("finds a closed tool however its name and members are spelt", async () => {
    for (const body of [
      '{"jsonrpc":"2.0","id":1,"method":"tools\\/call","params":{"name":"r\\u006d"}}',
      '{"id":1,"params":{"arguments":{"name":"echo"},"name":"rm"},"\\u006dethod":"tools/call","jsonrpc":"2.0"}',
    ]) {
      const answer = await post("/mcp/closed", body).expect(200);
      expect(answer.body.error.code).toBe(-32602);
    }
    expect(scripted.received).toEqual([]);
  });

  test("takes closed tools out of a list that a stream sends again", async () => {
    scripted.answer((_received, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(
        'id: 3\ndata: {"jsonrpc":"2.0","id":1,\ndata: "result":{"tools":[{"name":"rm"},{"name":"echo"}]}}\n\n',
      );
    });
    const { text } = await gateway.get("/mcp/closed", token).set("last-event-id", "2").expect(200);
    expect(text).toBe('id: 3\ndata: {"jsonrpc":"2.0","id":1, "result":{"tools":[{"name":"echo"}]}}\n\n');
    expect(scripted.received[0]?.headers["last-event-id"]).toBe("2");
  });

  test("answers an error instead of a list that is compressed although it must not be", async () => {
    scripted.answer((_received, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-encoding": "br" }).end("xxx");
    });
    const list = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
    const { body, headers } = await post("/mcp/closed", list, { "accept-encoding": "br" }).expect(200);
    expect(body.error.code).toBe(-32603);
    expect(headers["content-encoding"]).toBeUndefined();
    expect(scripted.received[0]?.headers["accept-encoding"]).toBe("identity");
  });

  test("a name that a caller makes up is counted as other", async () => {
    await post("/mcp/closed", call("made-up-by-a-caller")).expect(200);
    await post("/mcp/closed", call("echo")).expect(200);
    await eventually(() => auditOf("made-up-by-a-caller"));
    const { text } = await gateway.admin("/metrics").expect(200);
    expect(text).toMatch(
      /obo_gateway_mcp_tool_calls_total\{route="\/mcp\/closed",tool="other",code="target_forbidden"\} [1-9]/,
    );
    expect(text).toMatch(
      /obo_gateway_mcp_tool_calls_total\{route="\/mcp\/closed",tool="echo",code="granted"\} [1-9]/,
    );
    expect(text).not.toContain("made-up-by-a-caller");
  });

  test("a name that is a token, or no name of a tool, is in no log line", async () => {
    for (const name of [token, "a b", "x".repeat(200)]) await post("/mcp/closed", call(name)).expect(200);
    await eventually(() => auditOf("other"));
    expect(JSON.stringify(gateway.logs)).not.toContain("xxxxxxxx");
  });
});

describe("the records of a call", () => {
  test("say who called which tool for whom, and by which exchange", async () => {
    const fresh = emulator.mintUserToken({ user: "grace" });
    const { headers } = await post("/mcp/scripted", call("echo"), {
      authorization: `Bearer ${fresh}`,
    }).expect(200);
    const line = await gateway.line(String(headers["x-correlation-id"]));
    expect(line).toMatchObject({
      route: "/mcp/scripted",
      mcpMethod: "tools/call",
      tool: "echo",
      granted: true,
    });
    const { correlationId } = line;
    const of = (event: string) =>
      gateway.logs.find((one) => one.event === event && one.correlationId === correlationId) ?? {};
    const { oid, tid, azp, credential, token: given } = of("tool_called");
    expect({ oid, tid, azp, credential }).toEqual({
      oid: emulator.user("grace").objectId,
      tid: emulator.tenantId,
      azp: emulator.frontEndClientId,
      credential: "workload-identity",
    });
    expect(given).toMatch(/^[0-9a-f]{8}$/);
    expect(of("exchange_granted")).toMatchObject({ token: given, credential });
  });
});

describe("what is no message", () => {
  const nested = `${"[".repeat(200)}${"]".repeat(200)}`;
  test.each<[string, string, number]>([
    ["nothing", "", -32700],
    ["no JSON", "{", -32700],
    ["JavaScript", "{jsonrpc:'2.0'}", -32700],
    ["a second value", `${call("echo")}${call("rm")}`, -32700],
    ["a number that is not JSON", '{"jsonrpc":"2.0","id":01,"method":"ping"}', -32700],
    ["too deep a nesting", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":${nested}}}`, -32700],
    ["a text", '"ping"', -32600],
    ["an empty batch", "[]", -32600],
    ["a batch in a batch", `[[${call("echo")}]]`, -32600],
    ["a batch of too many", `[${Array.from({ length: 65 }, () => call("echo")).join(",")}]`, -32600],
    ["another version of JSON-RPC", '{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600],
    ["no version", '{"id":1,"method":"ping"}', -32600],
    ["no method", '{"jsonrpc":"2.0","id":1}', -32600],
    ["a method that is no text", '{"jsonrpc":"2.0","id":1,"method":["tools/call"]}', -32600],
    ["an id that is null", '{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600],
    ["an id that is an object", '{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600],
    ["a list of parameters", '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600],
    ["request and response at once", '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600],
    ["a response with two outcomes", '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32600],
    ["a method twice", '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', -32600],
    ["a method in other letters", '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', -32600],
    [
      "a name twice",
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}',
      -32600,
    ],
    [
      "a name in other letters",
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}',
      -32600,
    ],
    ["parameters with a long s", '{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}', -32600],
    [
      "half a character in a name",
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\\ud800"}}',
      -32600,
    ],
    [
      "the end of a text in a name",
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\\u0000b"}}',
      -32600,
    ],
    ["a version twice", '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"x":1,"x":2}}}', -32600],
    ["a call of nothing", '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', -32602],
    ["a call of a number", '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}', -32602],
    ["a call without parameters", '{"jsonrpc":"2.0","id":1,"method":"tools/call"}', -32602],
  ])("%s is refused in the terms of JSON-RPC, and nothing is sent", async (_, body, code) => {
    const answer = await post("/mcp/scripted", body).expect(400);
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(answer.body).toMatchObject({
      jsonrpc: "2.0",
      error: { code, data: { code: "request_malformed", correlationId: answer.headers["x-correlation-id"] } },
    });
    expect(scripted.received).toEqual([]);
  });

  test.each<[string, Record<string, string>, number]>([
    ["of another type", { "content-type": "text/plain" }, 400],
    ["of another charset", { "content-type": "application/json; charset=utf-16" }, 400],
    ["in a content coding", { "content-encoding": "gzip" }, 400],
  ])("a body %s is a problem, and nothing is sent", async (_, fields, status) => {
    const { body } = await post("/mcp/scripted", call("echo"), fields).expect(status);
    expect(body).toMatchObject({ code: "request_malformed", reason: expect.stringMatching(/^message_/) });
    expect(scripted.received).toEqual([]);
  });

  test("a body past the API's bound is refused, whether it names its length or not", async () => {
    const body = call("echo", 1, { arguments: { text: "x".repeat(100_000) } });
    expect((await post("/mcp/scripted", body).expect(413)).body.code).toBe("body_too_large");
    const chunked = await fetch(at("/mcp/scripted"), {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: new Blob([body]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(chunked.status).toBe(413);
    expect(scripted.received).toEqual([]);
  });

  test("what the gateway does not know is left to the server: other methods, members and arguments", async () => {
    const unknown =
      '{"jsonrpc":"2.0","id":1,"method":"vendor/thing","x":1,"params":{"y":{"name":"a","name":"b"},"cursor":null}}';
    await post("/mcp/scripted", unknown).expect(200);
    await post("/mcp/scripted", '{"jsonrpc":"2.0","id":"s-1","result":{"roots":[]}}').expect(200);
    expect(scripted.received.map(({ body }) => body)).toEqual([
      unknown,
      '{"jsonrpc":"2.0","id":"s-1","result":{"roots":[]}}',
    ]);
  });

  test("a message arrives byte for byte, a mark in front of it left out", async () => {
    const spelt =
      ' { "jsonrpc" : "2.0", "id": 1.0e0, "method":"tools/call","params":{"name":"\\u0065cho"} } ';
    await post("/mcp/scripted", `\ufeff${spelt}`).expect(200);
    expect(scripted.received[0]?.body).toBe(spelt);
    expect(scripted.received[0]?.headers["content-length"]).toBe(String(spelt.length));
  });
});

describe("a route", () => {
  test("takes the methods of the transport, at its own path alone", async () => {
    await gateway.send("put", "/mcp/scripted", token).send("{}").expect(405);
    await post("/mcp/scripted/other", call("echo")).expect(403);
    await supertest(gateway.url).post("/mcp/scripted").send({}).expect(401);
    expect(scripted.received).toEqual([]);
  });

  test("lets web pages read the protocol's fields, whatever fields the file exposes", async () => {
    const { headers } = await post("/mcp/scripted", call("echo"), { origin: "https://app.example" }).expect(
      200,
    );
    const exposed = String(headers["access-control-expose-headers"]).split(",");
    expect(exposed).toEqual(
      expect.arrayContaining([
        "x-of-mine",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "last-event-id",
        "www-authenticate",
      ]),
    );
    const preflight = await supertest(gateway.url)
      .options("/mcp/scripted")
      .set({
        origin: "https://app.example",
        "access-control-request-method": "DELETE",
        "access-control-request-headers": "mcp-method,mcp-name,mcp-session-id,last-event-id",
      })
      .expect(204);
    expect(preflight.headers["access-control-allow-headers"]).toBe(
      "mcp-method,mcp-name,mcp-session-id,last-event-id",
    );
    expect(preflight.headers["access-control-allow-methods"]).toContain("DELETE");
  });

  test("keeps a quiet event stream for its own time, and ends it then", async () => {
    scripted.answer((_received, response) => {
      response.writeHead(200, { "content-type": "text/event-stream", "mcp-session-id": "s-1" });
      response.write(": open\n\n");
    });
    const began = performance.now();
    const answer = await fetch(at("/mcp/scripted"), { headers: bearer().headers });
    expect(answer.headers.get("mcp-session-id")).toBe("s-1");
    await expect(answer.text()).rejects.toThrow();
    // The API's other answers may pause for 300 ms, its streams for 1500.
    expect(performance.now() - began).toBeGreaterThan(1_200);
  });

  test("repeats a message with a new token after a claims challenge of the server", async () => {
    const claims = Buffer.from(
      JSON.stringify({ access_token: { nbf: { essential: true, value: "1" } } }),
    ).toString("base64");
    scripted.answer((_received, response) => {
      if (scripted.received.length === 1)
        response
          .writeHead(401, { "www-authenticate": `Bearer error="insufficient_claims", claims="${claims}"` })
          .end();
      else
        response
          .writeHead(200, { "content-type": "application/json" })
          .end('{"jsonrpc":"2.0","id":1,"result":{}}');
    });
    await post("/mcp/scripted", call("echo")).expect(200);
    const [first, second] = scripted.received;
    expect(second?.body).toBe(first?.body);
    expect(second?.headers.authorization).not.toBe(first?.headers.authorization);
  });

  test("gives memory back: a share that is taken is free again when its requests have ended", async () => {
    const large = (id: number) => call("echo", id, { arguments: { text: "x".repeat(90_000) } });
    const held: (() => void)[] = [];
    scripted.answer((_received, response) => {
      held.push(() => response.writeHead(200, { "content-type": "application/json" }).end("{}"));
    });
    const statuses = Promise.all(
      Array.from({ length: 8 }, (_, id) => post("/mcp/scripted", large(id)).then(({ status }) => status)),
    );
    // Half of a megabyte is five such messages.
    await eventually(() => (held.length >= 5 ? true : undefined));
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const answer of held) answer();
    expect((await statuses).toSorted()).toEqual([200, 200, 200, 200, 200, 429, 429, 429]);
    scripted.answer((_received, response) => void response.writeHead(200).end());
    await eventually(() => (held.length === 5 ? true : undefined));
    for (let id = 0; id < 8; id += 1) await post("/mcp/scripted", large(id)).expect(200);
  });
});
