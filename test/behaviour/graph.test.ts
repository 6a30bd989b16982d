/** Microsoft Graph's own habits through a gateway: links, batches, throttling, downloads. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

const YAML = yamlOf({
  apis: {
    graph: ["GRAPH_URL", "kind: graph", "timeoutMs: 5000"],
    plain: ["GRAPH_URL", "kind: plain"],
    following: ["GRAPH_URL", "followRedirects: true"],
  },
  routes: [
    '{ path: /graph, downstreamApi: graph, methods: [GET, POST, PATCH], allow: ["/$batch", "/me", "/me/**"] }',
    '{ path: /reading, downstreamApi: graph, methods: [GET], allow: ["/$batch", "/me/**"] }',
    '{ path: /unopened, downstreamApi: graph, methods: [GET, POST], allow: ["/me/**"] }',
    '{ path: /following, downstreamApi: following, methods: [GET], allow: ["/me/**"] }',
    `{ path: /mail, downstreamApi: graph, methods: [GET, POST], allow: ["/$batch", "/me/mailFolders/*/messages", "/me/mailFolders('*')/messages/delta"] }`,
    '{ path: /plain, downstreamApi: plain, methods: [GET], allow: ["/me/**"] }',
  ],
  sections: [
    "http:",
    '  publicUrl: "${PUBLIC_URL:-https://gateway.example/api/}"',
    "  shutdownGraceSeconds: 2",
  ],
});

let emulator: Emulator;
let gateway: TestGateway;
let ada: string;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: YAML });
  ada = emulator.mintUserToken({ user: "ada", capabilities: ["cp1"] });
});
afterEach(() => {
  emulator.graph.clearChallenges();
  emulator.faults.clear();
  emulator.requests.clear();
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});

const PUBLIC = "https://gateway.example/api";
/** A link of an answer, as the path under which this test reaches the gateway. */
const below = (link: unknown) => String(link).slice(PUBLIC.length);
const batch = (requests: readonly object[], path = "/graph/$batch", token = ada) =>
  gateway.send("post", path, token).send({ requests });
const get = (id: string, url: string, more: object = {}) => ({ id, method: "GET", url, ...more });

interface Part {
  readonly id: string;
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Record<string, unknown>;
}
const partsById = ({ body }: { body: { responses: Part[] } }) =>
  Object.fromEntries(body.responses.map((part) => [part.id, part]));
/** Parts that reached Graph, by path. */
const reached = (path: string) =>
  emulator.requests.graph.filter((request) => request.path.endsWith(path)).length;

describe("a page's link", () => {
  test("leads back to the gateway, page by page, until there is none", async () => {
    let path = "/graph/me/messages?$top=10&$select=id";
    const sizes: number[] = [];
    for (;;) {
      const { body } = await gateway.get(path, ada).expect(200);
      sizes.push(body.value.length);
      const link = body["@odata.nextLink"];
      if (link === undefined) break;
      expect(link).toMatch(/^https:\/\/gateway\.example\/api\/graph\/me\/messages\?/);
      path = below(link);
    }
    expect(sizes).toEqual([10, 10, 3]);
  });

  test("of changes leads back to the gateway, too", async () => {
    const first = await gateway.get("/graph/me/mailFolders/inbox/messages/delta?$top=20", ada).expect(200);
    const last = await gateway.get(below(first.body["@odata.nextLink"]), ada).expect(200);
    const link = last.body["@odata.deltaLink"];
    expect(link).toMatch(/^https:\/\/gateway\.example\/api\/graph\/.*\$deltatoken=/);
    expect((await gateway.get(below(link), ada).expect(200)).body.value).toEqual([]);
  });

  test("inside a part of a batch leads back to the gateway, too", async () => {
    const answer = await batch([get("1", "/me/messages?$top=5")]).expect(200);
    expect(partsById(answer)["1"]?.body["@odata.nextLink"]).toMatch(
      /^https:\/\/gateway\.example\/api\/graph\/me\/messages\?/,
    );
  });

  test("is asked for without content coding, whatever the caller takes", async () => {
    await gateway.get("/graph/me/messages", ada).set("accept-encoding", "gzip, br").expect(200);
    expect(emulator.requests.graph.at(-1)?.headers["accept-encoding"]).toBe("identity");
  });

  test("is left alone where the API is not Graph", async () => {
    const { body } = await gateway.get("/plain/me/messages", ada).expect(200);
    expect(body["@odata.nextLink"]).toMatch(new RegExp(`^${emulator.graphUrl}/me/messages`));
    expect(emulator.requests.graph.at(-1)?.headers["accept-encoding"]).not.toBe("identity");
  });

  test("with its key in parentheses, and in the letter case of delta links, comes back through the same pattern", async () => {
    for (const path of ["/mail/me/mailFolders/inbox/messages", "/mail/me/mailfolders('inbox')/messages"]) {
      emulator.requests.clear();
      await gateway.get(`${path}?$top=1`, ada);
      expect(emulator.requests.graph.at(-1)?.path).toBe(`/v1.0${path.slice("/mail".length)}`);
    }
    await gateway.get("/mail/me/mailFolders('inbox')/childFolders", ada).expect(403);
    expect((await batch([get("1", "/me/mailFolders('inbox')/childFolders")], "/mail/$batch")).body.code).toBe(
      "target_forbidden",
    );
    await batch(
      [get("1", "/me/mailFolders('inbox')/messages?$filter=subject eq 'J\u00f6rg'")],
      "/mail/$batch",
    ).expect(200);
  });

  test("in its absolute form is refused as a request", async () => {
    const { body } = await gateway.get("/graph/https://graph.microsoft.com/v1.0/me", ada).expect(403);
    expect(body.code).toBe("target_forbidden");
  });
});

describe("without a public URL", () => {
  let local: TestGateway;
  beforeAll(async () => {
    local = await startTestGateway({ emulator, yaml: YAML.replace(/ {2}publicUrl: .*\n/, "") });
  });
  afterAll(() => local.stop());

  test("a link leads to the loopback address that was called", async () => {
    const { body } = await local.get("/graph/me/messages", ada).expect(200);
    expect(body["@odata.nextLink"]).toMatch(new RegExp(`^${local.url}/graph/me/messages`));
  });

  test.each(["localhost", "localhost:1", "127.0.0.1:80", "[::1]"])(
    "a Host of the loopback interface is not believed where the gateway does not listen: %s",
    async (host) => {
      const { body } = await local.get("/graph/me/messages", ada).set("host", host).expect(200);
      expect(body["@odata.nextLink"]).toMatch(new RegExp(`^${emulator.graphUrl}/me/messages`));
    },
  );

  test("a Host from elsewhere is not believed, and the link is left alone", async () => {
    const { body } = await local.get("/graph/me/messages", ada).set("host", "evil.example").expect(200);
    expect(body["@odata.nextLink"]).toMatch(new RegExp(`^${emulator.graphUrl}/me/messages`));
  });
});

test("a path with an encoded slash is refused, and tells its caller the reason", async () => {
  const { body } = await gateway.get("/graph/me/messages/AAMk%2Fz=", ada).expect(400);
  expect([body.code, body.reason]).toEqual(["request_malformed", "encoded_separator"]);
});

describe("a batch", () => {
  test("is sent as the user, part by part within the rules, and answered as one", async () => {
    const answer = await batch([get("a", "/me"), get("b", "me/messages?$top=1")]).expect(200);
    const parts = partsById(answer);
    expect([parts.a?.status, parts.b?.status]).toEqual([200, 200]);
    expect(parts.a?.body.id).toBe(emulator.users.ada.objectId);
    expect(answer.headers["x-correlation-id"]).toBeDefined();
  });

  test.each<[string, object[], string, number]>([
    ["a path that the route does not allow", [get("1", "/users/1")], "target_forbidden", 403],
    [
      "a method that the route does not allow",
      [{ id: "1", method: "DELETE", url: "/me" }],
      "target_forbidden",
      403,
    ],
    ["an absolute URL", [get("1", "https://graph.microsoft.com/v1.0/me")], "target_forbidden", 403],
    ["another batch", [{ id: "1", method: "POST", url: "/$batch" }], "target_forbidden", 403],
    [
      "an Authorization of its own",
      [get("1", "/me", { headers: { authorization: "x" } })],
      "target_forbidden",
      403,
    ],
    ["an id twice", [get("a", "/me"), get("A", "/me")], "request_malformed", 400],
    ["21 parts", Array.from({ length: 21 }, (_, id) => get(`${id}`, "/me")), "request_malformed", 400],
  ])("with %s is refused as a whole, before Graph hears of it", async (_, requests, code, status) => {
    const { body } = await batch(requests).expect(status);
    expect(body.code).toBe(code);
    expect(emulator.requests.counts.graph).toBe(0);
  });

  test.each<[string, object[], string]>([
    ["a member in other letters", [get("1", "/me"), get("2", "/me", { DependsOn: ["1"] })], "batch_member"],
    ["an atomicity group", [get("1", "/me", { atomicityGroup: "g" })], "batch_member"],
    ["an encoded slash", [get("1", "/me/messages/a%2Fb")], "encoded_separator"],
    ["a double encoding in capitals", [get("1", "/me/%252E%252E/users")], "double_encoding"],
    ["a path that the route does not allow", [get("1", "/users/1")], "not_allowed"],
  ])("with %s tells its caller the reason", async (_, requests, reason) => {
    expect((await batch(requests)).body.reason).toBe(reason);
    expect(emulator.requests.counts.graph).toBe(0);
  });

  test("in another charset than UTF-8 is refused, and tells its caller the reason", async () => {
    const { body } = await gateway
      .send("post", "/graph/$batch", ada)
      .set("content-type", "application/json; charset=utf-7")
      .send(JSON.stringify({ requests: [get("1", "/me")] }))
      .expect(400);
    expect(body.reason).toBe("batch_charset");
  });

  test("does not pass where the route does not allow it", async () => {
    expect((await batch([get("1", "/me/messages")], "/unopened/$batch").expect(403)).body.code).toBe(
      "target_forbidden",
    );
    expect((await batch([get("1", "/me/messages")], "/reading/$batch").expect(405)).body.code).toBe(
      "method_not_allowed",
    );
  });

  test("under a spelling that only a lenient server would read is opened all the same", async () => {
    const { body } = await batch([get("1", "/users/1")], "/graph/me/$BATCH").expect(403);
    expect(body.code).toBe("target_forbidden");
  });

  test("in a coding that hides its parts, or too large, is refused", async () => {
    const send = () => gateway.send("post", "/graph/$batch", ada).set("content-type", "application/json");
    await send().set("content-encoding", "gzip").send("{}").expect(400);
    await send()
      .send(JSON.stringify({ requests: [get("1", "/me")], filler: "x".repeat(5 * 2 ** 20) }))
      .expect(413);
  });

  test("has the part that was throttled sent again, and only that, when the wait is over", async () => {
    emulator.graph.throttle({ path: "/me/messages", times: 1, retryAfter: 1 });
    const parts = partsById(await batch([get("a", "/me"), get("b", "/me/messages")]).expect(200));
    expect([parts.a?.status, parts.b?.status]).toEqual([200, 200]);
    expect([reached("/me"), reached("/me/messages")]).toEqual([1, 2]);
  });

  test("has what depends on a throttled part sent again with it", async () => {
    emulator.graph.throttle({ path: "/me/messages", times: 1, retryAfter: 0 });
    const answer = await batch([
      get("a", "/me"),
      get("b", "/me/messages", { dependsOn: ["a"] }),
      get("c", "/me/manager", { dependsOn: ["b"] }),
    ]).expect(200);
    expect(Object.values(partsById(answer)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(reached("/me")).toBe(1);
  });

  test("hands on a part's 429 when the wait would outlast the deadline", async () => {
    emulator.graph.throttle({ path: "/me/messages", retryAfter: 60 });
    const parts = partsById(await batch([get("a", "/me"), get("b", "/me/messages")]).expect(200));
    expect([parts.a?.status, parts.b?.status, parts.b?.headers["Retry-After"]]).toEqual([200, 429, "60"]);
  });

  test("has the challenged part alone sent again, under a new token", async () => {
    emulator.advanceClock(2_000);
    emulator.graph.challenge("ada", { path: "/me/messages" });
    const exchanges = emulator.requests.counts.token;
    const parts = partsById(await batch([get("a", "/me"), get("b", "/me/messages")]).expect(200));
    expect([parts.a?.status, parts.b?.status]).toEqual([200, 200]);
    expect([reached("/me"), reached("/me/messages")]).toEqual([1, 2]);
    expect(emulator.requests.counts.token).toBe(exchanges + 1);
    expect(emulator.requests.token.at(-1)?.claims).toMatch(/nbf/);
  });

  test("asks the user when a new token does not satisfy the challenge", async () => {
    emulator.graph.challenge("ada", { path: "/me/messages", satisfiedBy: "nothing" });
    const answer = await batch([get("a", "/me"), get("b", "/me/messages")]).expect(401);
    expect(answer.body.code).toBe("claims_challenged");
    expect(answer.headers["www-authenticate"]).toMatch(/error="insufficient_claims", claims="/);
    const plain = emulator.mintUserToken({ user: "ada" });
    const { body } = await batch([get("b", "/me/messages")], "/graph/$batch", plain).expect(401);
    expect(body.code).toBe("interaction_required");
  });

  test("answered as a whole with something else passes on as it is", async () => {
    emulator.faults.inject({
      endpoint: "graph",
      behaviour: { kind: "json", status: 503, body: { error: 1 }, retryAfter: 7 },
    });
    const answer = await batch([get("a", "/me")]).expect(503);
    expect([answer.body, answer.headers["retry-after"]]).toEqual([{ error: 1 }, "7"]);
  });

  test("that Graph never answers ends in time", async () => {
    const hasty = await startTestGateway({
      emulator,
      yaml: YAML.replace("timeoutMs: 5000", "timeoutMs: 300"),
    });
    await hasty.get("/graph/me", ada).expect(200);
    emulator.faults.inject({ endpoint: "graph", behaviour: { kind: "stall", when: "before-headers" } });
    const { body } = await hasty.send("post", "/graph/$batch", ada).send({ requests: [get("1", "/me")] });
    expect(body.code).toBe("downstream_timeout");
    emulator.faults.clear();
    await hasty.stop();
  });
});

test("a download passes as Graph's redirect to an address that needs no token", async () => {
  const answer = await gateway.get("/graph/me/drive/items/abc/content", ada).redirects(0).expect(302);
  expect(answer.headers.location).toMatch(/^https:\/\/127\.0\.0\.1:\d+\/download\//);
});

test("a download arrives whole from an API whose redirects are followed", async () => {
  const answer = await gateway.get("/following/me/drive/items/abc/content", ada).redirects(0).expect(200);
  expect(answer.headers.location).toBeUndefined();
  expect(answer.body.length).toBeGreaterThan(0);
  const line = await gateway.line(answer.headers["x-correlation-id"] ?? "");
  expect(JSON.stringify(line)).not.toContain("/download/");
});
