/** Microsoft's own client for Graph, pointed at the gateway: it must not notice that somebody stands in between. */

import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import graphClient, { type Client as GraphClient } from "@microsoft/microsoft-graph-client";
import { Agent, fetch as undiciFetch } from "undici";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

const {
  AuthenticationHandler,
  BatchRequestContent,
  BatchResponseContent,
  Client,
  LargeFileUploadTask,
  FileUpload,
  PageIterator,
  RetryHandler,
  RetryHandlerOptions,
  TelemetryHandler,
} = graphClient;

const PUBLIC = "https://gateway.example";
const YAML = yamlOf({
  apis: { graph: ["GRAPH_URL", "kind: graph", "timeoutMs: 5000"] },
  routes: [
    '{ path: /graph, downstreamApi: graph, methods: [GET, POST, PUT, PATCH], allow: ["/$batch", "/me", "/me/**"] }',
  ],
  sections: [`http: { publicUrl: "${PUBLIC}", shutdownGraceSeconds: 2 }`],
});

let emulator: Emulator;
let gateway: TestGateway;
let agent: Agent;
let client: GraphClient;
/** What left the client: where to, and whether the user's token went along. */
const sent: { readonly host: string; readonly method: string; readonly hasToken: boolean }[] = [];

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: YAML });
  agent = new Agent({ connect: { ca: emulator.caCertificate } });
  const token = emulator.mintUserToken({ user: "ada", capabilities: ["cp1"] });
  const authentication = new AuthenticationHandler({ getAccessToken: async () => token });
  const retry = new RetryHandler(new RetryHandlerOptions(0, 3));
  authentication.setNext(retry);
  // Says the SDK's version, as the client's ordinary chain does.
  const telemetry = new TelemetryHandler();
  retry.setNext(telemetry);
  telemetry.setNext({
    // DNS and TLS of the public URL, which a load balancer would see to.
    async execute(current) {
      const url = new URL(typeof current.request === "string" ? current.request : current.request.url);
      const headers = new Headers(current.options?.headers as Record<string, string>);
      const hasToken = headers.has("authorization");
      sent.push({ host: url.host, method: current.options?.method ?? "GET", hasToken });
      const init = { ...current.options, headers, dispatcher: agent } as object;
      current.response = (await undiciFetch(
        url.href.replace(PUBLIC, gateway.url),
        init,
      )) as unknown as Response;
    },
  });
  client = Client.initWithMiddleware({
    baseUrl: PUBLIC,
    // The client puts one segment between host and path; here it is the route instead of Graph's version.
    defaultVersion: "graph",
    customHosts: new Set(["gateway.example"]),
    middleware: authentication,
  });
});
afterEach(() => {
  emulator.graph.clearChallenges();
  emulator.requests.clear();
  sent.length = 0;
});
afterAll(async () => {
  await gateway.stop();
  await agent.close();
  await emulator.close();
});

test("the page iterator walks a mailbox to its end", async () => {
  const ids = new Set<string>();
  const first = await client.api("/me/messages").top(10).get();
  const iterator = new PageIterator(client, first, (message: { id: string }) => {
    ids.add(message.id);
    return true;
  });
  await iterator.iterate();
  expect([ids.size, iterator.isComplete()]).toEqual([23, true]);
  expect(new Set(sent.map(({ host }) => host))).toEqual(new Set(["gateway.example"]));
});

test("the page iterator finds the delta link and comes back with it", async () => {
  const first = await client.api("/me/mailFolders/inbox/messages/delta").get();
  const iterator = new PageIterator(client, first, () => true);
  await iterator.iterate();
  const link = iterator.getDeltaLink() ?? "";
  expect(link).toMatch(/^https:\/\/gateway\.example\/graph\/me\/mailFolders/);
  expect((await client.api(link).get()).value).toEqual([]);
});

test("a batch is built, sent and read, dependencies included", async () => {
  const content = new BatchRequestContent([
    { id: "1", request: new Request(`${PUBLIC}/me?$select=id`) },
    { id: "2", request: new Request(`${PUBLIC}/me/messages?$top=1`), dependsOn: ["1"] },
  ]);
  const requests = await content.getContent();
  const answers = new BatchResponseContent(await client.api("/$batch").post(requests));
  const me = answers.getResponseById("1");
  expect([me.status, ((await me.json()) as { id: string }).id]).toEqual([200, emulator.users.ada.objectId]);
  expect(answers.getResponseById("2").status).toBe(200);
});

test("a large file goes up in ranges, past the gateway and without the token", async () => {
  const bytes = Buffer.alloc(1_000_000, "0123456789abcdef");
  const session = await client.api("/me/drive/root:/big.bin:/createUploadSession").post({ item: {} });
  const task = new LargeFileUploadTask(
    client,
    new FileUpload(bytes as unknown as File, "big.bin", bytes.length),
    { url: session.uploadUrl, expiry: new Date(session.expirationDateTime), isCancelled: false },
    { rangeSize: 320 * 1024 },
  );
  const { responseBody } = await task.upload();
  expect(responseBody).toMatchObject({ name: "big.bin", size: bytes.length });
  const ranges = sent.filter(({ method }) => method === "PUT");
  expect(ranges).toHaveLength(4);
  expect(ranges.every(({ host, hasToken }) => !hasToken && host !== "gateway.example")).toBe(true);
});

test("throttling reaches the client's own retry handler with Graph's pause", async () => {
  emulator.graph.throttle({ path: "/me", times: 1, retryAfter: 0 });
  expect((await client.api("/me").get()).id).toBe(emulator.users.ada.objectId);
  expect(sent).toHaveLength(2);
});

test("a refusal of Graph's arrives as the client's error", async () => {
  await expect(client.api("/me/messages/none").get()).rejects.toMatchObject({
    statusCode: 404,
    code: "ErrorItemNotFound",
  });
});

test("a refusal of the gateway's arrives as the client's error too, with code and sentence", async () => {
  await expect(client.api("/users").get()).rejects.toMatchObject({
    statusCode: 403,
    code: "target_forbidden",
    message: expect.stringMatching(/.{10}/),
  });
  const problem = await gateway.get("/graph/users", emulator.mintUserToken({ user: "ada" })).expect(403);
  expect(problem.headers["content-type"]).toBe("application/problem+json");
  expect(problem.body).toMatchObject({
    type: "urn:obo-gateway:problem:target_forbidden",
    code: "target_forbidden",
    error: { code: "target_forbidden", message: problem.body.detail },
  });
  const asked = await gateway
    .get("/graph/users", emulator.mintUserToken({ user: "ada" }))
    .set("sdkversion", "graph-js/3.0.7");
  expect(asked.headers["content-type"]).toBe("application/json");
  expect(asked.body.error).toEqual(problem.body.error);
});
