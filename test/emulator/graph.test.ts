import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type { Claims } from "./jws.ts";
import { type Client, startClient } from "./support.ts";

let client: Client;
let ada: string;
let grace: string;
beforeAll(async () => {
  client = await startClient();
  ada = await client.graphToken("ada");
  grace = await client.graphToken("grace");
});
afterEach(() => client.emulator.graph.clearChallenges());
afterAll(() => client.close());

const get = (path: string, token = ada, headers: Record<string, string> = {}) =>
  client.getJson(`${client.emulator.graphUrl}${path}`, { authorization: `Bearer ${token}`, ...headers });
const send = (method: string, path: string, body: string | Buffer, token = ada) =>
  client.fetch(`${client.emulator.graphUrl}${path}`, {
    method,
    body,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
  });
const errorCode = ({ body }: { body: Claims }) => (body.error as Claims | undefined)?.code;

describe("Graph accepts only a token that Entra issued for it", () => {
  test("and answers for that token's user", async () => {
    expect((await get("/me")).body.displayName).toBe("Ada Lovelace");
    expect((await get("/me", grace)).body.displayName).toBe("Grace Hopper");
  });

  test.each<[string, () => string | Promise<string>]>([
    ["the user assertion itself", () => client.emulator.mintUserToken({ user: "ada" })],
    [
      "a token minted for Graph's audience without Graph's nonce",
      () => client.emulator.mintUserToken({ version: "1.0", audience: "https://graph.microsoft.com" }),
    ],
    ["a token whose signature was cut", () => ada.slice(0, -8)],
    ["a token for another API", () => tokenFor(`api://${client.emulator.ordersApi.clientId}/orders.read`)],
    ["no token", () => ""],
  ])("not %s", async (_, token) => {
    const answer = await get("/me", await token());
    expect([answer.status, errorCode(answer)]).toEqual([401, "InvalidAuthenticationToken"]);
    expect(answer.headers.get("www-authenticate")).toMatch(
      /^Bearer realm="", authorization_uri="https:\/\/.*\/common\/oauth2\/authorize", client_id="00000003-0000-0000-c000-000000000000"$/,
    );
  });

  test("and not past its exp", async () => {
    const token = await client.graphToken("ada");
    client.emulator.advanceClock(4_499_999);
    expect((await get("/me", token)).status).toBe(200);
    client.emulator.advanceClock(1);
    expect((await get("/me", token)).status).toBe(401);
    ada = await client.graphToken("ada");
    grace = await client.graphToken("grace");
  });
});

describe("resources", () => {
  test("a manager, or 404 in Graph's shape", async () => {
    expect((await get("/me/manager")).body.displayName).toBe("Grace Hopper");
    const none = await get("/me/manager", grace, { "client-request-id": "7a1e" });
    expect(none.status).toBe(404);
    expect(none.body).toEqual({
      error: {
        code: "Request_ResourceNotFound",
        message: expect.any(String),
        innerError: {
          date: expect.any(String),
          "request-id": none.headers.get("request-id"),
          "client-request-id": "7a1e",
        },
      },
    });
    expect(none.headers.get("client-request-id")).toBe("7a1e");
  });

  test("messages come in pages; the link is absolute, keeps the other parameters, and ends", async () => {
    const seen: unknown[] = [];
    let url: unknown = `${client.emulator.graphUrl}/me/messages?$top=10&$count=true`;
    const counts: unknown[] = [];
    while (typeof url === "string") {
      expect(url).toMatch(new RegExp(`^${client.emulator.graphUrl}/me/messages\\?\\$top=10&\\$count=true`));
      const { body } = await client.getJson(url, { authorization: `Bearer ${ada}` });
      seen.push(...(body.value as Claims[]).map(({ subject }) => subject));
      counts.push(body["@odata.count"]);
      url = body["@odata.nextLink"];
    }
    expect(new Set(seen).size).toBe(23);
    expect(counts).toEqual([23, undefined, undefined]);
  });

  test("a message is found by its id, by its owner only", async () => {
    const [first] = (await get("/me/messages?$top=1")).body.value as Claims[];
    expect((await get(`/me/messages/${first?.id}`)).body.subject).toBe("Message 1 for Ada Lovelace");
    expect((await get(`/me/messages/${first?.id}`, grace)).status).toBe(404);
  });

  test("a photo is bytes, with validators and ranges; who has none gets ImageNotFound", async () => {
    const url = `${client.emulator.graphUrl}/me/photo/$value`;
    const photo = (headers: Record<string, string> = {}) =>
      client.fetch(url, { headers: { authorization: `Bearer ${ada}`, ...headers } });
    const whole = await photo();
    const bytes = Buffer.from(await whole.arrayBuffer());
    expect(bytes.subarray(1, 4).toString()).toBe("PNG");
    const etag = whole.headers.get("etag") ?? "";
    expect((await photo({ "if-none-match": etag })).status).toBe(304);
    const part = await photo({ range: "bytes=4-9" });
    expect([part.status, part.headers.get("content-range")]).toEqual([206, `bytes 4-9/${bytes.length}`]);
    expect(Buffer.from(await part.arrayBuffer())).toEqual(bytes.subarray(4, 10));
    expect((await photo({ range: `bytes=${bytes.length}-` })).status).toBe(416);
    expect(errorCode(await get("/me/photo/$value", grace))).toBe("ImageNotFound");
  });

  test("an attachment has as many bytes as its name says", async () => {
    const [first] = (await get("/me/messages?$top=1")).body.value as Claims[];
    const answer = await send(
      "GET",
      `/me/messages/${first?.id}/attachments/bytes-200001/$value`,
      undefined as never,
    );
    expect(answer.headers.get("content-length")).toBe("200001");
    expect((await answer.arrayBuffer()).byteLength).toBe(200_001);
  });

  test("an upload is answered with its size and digest, and the log has them too", async () => {
    const content = Buffer.alloc(300_000, "upload");
    const answer = await send("PUT", "/me/drive/root:/report%20one.bin:/content", content);
    const digest = createHash("sha256").update(content).digest("hex");
    expect([answer.status, await answer.json()]).toEqual([
      201,
      expect.objectContaining({
        name: "report one.bin",
        size: 300_000,
        file: { hashes: { sha256Hash: digest.toUpperCase() } },
      }),
    ]);
    expect(client.emulator.requests.graph.at(-1)?.body).toEqual({ bytes: 300_000, sha256: digest });
  });

  test("a download is a redirect to another host that needs no token and refuses one", async () => {
    const answer = await get("/me/drive/items/item-7/content");
    const location = answer.headers.get("location") ?? "";
    expect(answer.status).toBe(302);
    expect(new URL(location).host).not.toBe(new URL(client.emulator.graphUrl).host);
    expect(await (await client.fetch(location)).text()).toBe("content of item-7");
    expect((await client.getJson(location, { authorization: `Bearer ${ada}` })).status).toBe(401);
    expect((await client.getJson(`${location}x`)).status).toBe(403);
  });

  test("sending mail needs a message", async () => {
    expect((await send("POST", "/me/sendMail", '{"message":{}}')).status).toBe(202);
    expect((await send("POST", "/me/sendMail", "{}")).status).toBe(400);
    expect((await send("POST", "/me/sendMail", "no json")).status).toBe(400);
  });

  test.each([
    ["/groups", 403, "Authorization_RequestDenied"],
    ["/nothing/here", 404, "Request_ResourceNotFound"],
    ["/me/sendMail", 405, "Request_BadRequest"],
    ["/me/messages/%zz", 400, "BadRequest"],
  ])("%s is %i %s", async (path, status, code) => {
    const answer = await get(path);
    expect([answer.status, errorCode(answer)]).toEqual([status, code]);
  });
});

describe("$batch", () => {
  const batch = async (requests: readonly object[]) => {
    const answer = await send("POST", "/$batch", JSON.stringify({ requests }));
    return { status: answer.status, body: (await answer.json()) as Claims };
  };

  test("is 200 as a whole; every part has its own status, and a dependent one fails with its cause", async () => {
    const { status, body } = await batch([
      { id: "1", method: "GET", url: "/me" },
      { id: "2", method: "GET", url: "groups" },
      { id: "3", method: "GET", url: "/me", dependsOn: ["2"] },
      { id: "4", method: "GET", url: "/me/photo/$value" },
    ]);
    const responses = body.responses as Claims[];
    const statuses = Object.fromEntries(responses.map((part) => [String(part.id), part.status]));
    expect([status, statuses]).toEqual([200, { 1: 200, 2: 403, 3: 424, 4: 200 }]);
    expect(client.emulator.requests.graph.filter(({ batched }) => batched)).toHaveLength(3);
  });

  test.each<[string, object[]]>([
    ["more than twenty parts", Array.from({ length: 21 }, (_, id) => ({ id: String(id), url: "/me" }))],
    [
      "ids that differ in case only",
      [
        { id: "a", url: "/me" },
        { id: "A", url: "/me" },
      ],
    ],
    ["an absolute url", [{ id: "1", url: "https://graph.microsoft.com/v1.0/me" }]],
    ["a body without a content type", [{ id: "1", method: "POST", url: "/me/sendMail", body: {} }]],
    ["no parts", []],
  ])("is refused whole for %s", async (_, requests) => {
    expect((await batch(requests)).status).toBe(400);
  });

  test("does not nest", async () => {
    const { body } = await batch([
      { id: "1", method: "POST", url: "/$batch", headers: { "content-type": "application/json" }, body: {} },
    ]);
    expect((body.responses as Claims[])[0]?.status).toBe(404);
  });
});

describe("continuous access evaluation", () => {
  test("after a revocation challenges older tokens that declared cp1, with the time to beat", async () => {
    const capable = await client.graphToken("edsger", { capable: true });
    const incapable = await client.graphToken("edsger");
    client.emulator.revokeSessions("edsger");
    const challenged = await get("/me", capable);
    expect(challenged.status).toBe(401);
    expect(claimsOf(challenged.headers.get("www-authenticate"))).toEqual({
      access_token: { nbf: { essential: true, value: String(Math.floor(client.emulator.now() / 1000)) } },
    });
    expect((await get("/me", incapable)).status).toBe(200);
    expect((await get("/me", await client.graphToken("edsger", { capable: true }))).status).toBe(200);
  });

  test("a challenge on demand meets one user, until a newer token comes", async () => {
    const old = await client.graphToken("ada", { capable: true });
    client.emulator.graph.challenge("ada");
    expect((await get("/me", old)).status).toBe(401);
    expect((await get("/me", await client.graphToken("grace", { capable: true }))).status).toBe(200);
    expect((await get("/me", await client.graphToken("ada", { capable: true }))).status).toBe(200);
  });

  test("a challenge that nothing satisfies, with a header of our own, twice", async () => {
    const token = await client.graphToken("ada", { capable: true });
    client.emulator.graph.challenge("ada", {
      claims: '{"access_token":{}}',
      satisfiedBy: "nothing",
      header: 'PoP nonce="n", Bearer error="invalid_token", claims="{claims}"',
      times: 2,
    });
    const first = await get("/me", token);
    expect(first.headers.get("www-authenticate")).toMatch(/^PoP nonce="n", Bearer error="invalid_token"/);
    expect(claimsOf(first.headers.get("www-authenticate"))).toEqual({ access_token: {} });
    expect((await get("/me", await client.graphToken("ada", { capable: true }))).status).toBe(401);
    expect((await get("/me", token)).status).toBe(200);
  });

  test("an authentication context is satisfied by a token whose user signed in with it", async () => {
    const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
    client.emulator.graph.challenge("ada", { claims });
    expect((await get("/me", await client.graphToken("ada", { capable: true }))).status).toBe(401);
    const { body } = await client.exchange({
      assertion: client.emulator.mintUserToken({ user: "ada", claimsRequest: claims }),
      claims: '{"access_token":{"xms_cc":{"values":["cp1"]}}}',
    });
    expect((await get("/me", String(body.access_token))).status).toBe(200);
  });
});

test("the log has each header as received, and of the token only a digest", async () => {
  await client.fetch(`${client.emulator.graphUrl}/me?$select=id`, {
    headers: { Authorization: `Bearer ${ada}`, "X-Probe": "1", Prefer: "a" },
  });
  const record = client.emulator.requests.graph.at(-1);
  expect(record).toMatchObject({
    method: "GET",
    path: "/v1.0/me",
    query: "$select=id",
    status: 200,
    userObjectId: client.emulator.users.ada.objectId,
    headers: {
      authorization: `sha256:${createHash("sha256").update(ada).digest("hex")}`,
      "x-probe": "1",
      prefer: "a",
    },
  });
  expect(record?.headerNames.map((name) => name.toLowerCase())).toContain("x-probe");
});

async function tokenFor(scope: string): Promise<string> {
  return String((await client.exchange({ scope })).body.access_token);
}

function claimsOf(header: string | null): unknown {
  const encoded = /claims="([^"]+)"/.exec(header ?? "")?.[1] ?? "";
  return JSON.parse(Buffer.from(encoded, "base64").toString("utf8"));
}

describe("An upload session", () => {
  const open = async () =>
    (await (await send("POST", "/me/drive/root:/a.bin:/createUploadSession", "{}")).json()) as Claims;
  const put = (url: unknown, range: string, bytes: number, headers: Record<string, string> = {}) =>
    client.fetch(String(url), {
      method: "PUT",
      body: Buffer.alloc(bytes),
      headers: { "content-range": range, ...headers },
    });

  test("takes ranges in order, and no token beside its address", async () => {
    const { uploadUrl } = await open();
    const unit = 320 * 1024;
    const first = `bytes 0-${unit - 1}/${unit + 5}`;
    expect((await put(uploadUrl, first, unit, { authorization: `Bearer ${ada}` })).status).toBe(401);
    expect((await put(uploadUrl, "bytes 0-9/100", 10)).status).toBe(400);
    expect((await put(uploadUrl, first, unit)).status).toBe(202);
    expect((await put(uploadUrl, first, unit)).status).toBe(416);
    const last = await put(uploadUrl, `bytes ${unit}-${unit + 4}/${unit + 5}`, 5);
    expect([last.status, await last.json()]).toMatchObject([201, { size: unit + 5 }]);
    expect((await put(uploadUrl, first, unit)).status).toBe(404);
  });
});

test("throttling counts the parts of a batch one by one, and ends by itself", async () => {
  client.emulator.graph.throttle({ path: "/me/manager", times: 1, retryAfter: 9 });
  const requests = [1, 2].map((id) => ({ id: `${id}`, method: "GET", url: "/me/manager" }));
  const { responses } = (await (await send("POST", "/$batch", JSON.stringify({ requests }))).json()) as {
    responses: { id: string; status: number; headers: Record<string, string> }[];
  };
  const byId = responses.toSorted((one, other) => one.id.localeCompare(other.id));
  expect(byId.map(({ status }) => status)).toEqual([429, 200]);
  expect(byId[0]?.headers["Retry-After"]).toBe("9");
});

test("events are sent as server-sent events", async () => {
  const answer = await client.fetch(`${client.emulator.graphUrl}/me/emulator/events?count=2`, {
    headers: { authorization: `Bearer ${ada}` },
  });
  expect(answer.headers.get("content-type")).toMatch(/^text\/event-stream/);
  expect(await answer.text()).toBe('id: 1\ndata: {"count":1}\n\nid: 2\ndata: {"count":2}\n\n');
});
