import { once } from "node:events";
import http from "node:http";
import { describe, expect, test } from "@jest/globals";
import { createDownstreamClient } from "../../../src/downstream/client.ts";
import type { DownstreamClient } from "../../../src/downstream/contract.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { apiAt, HELD_BYTES } from "../api-options.ts";
import { bodyOf, call, listen, startApi, startRawApi, startTorrent, transportFor } from "../support.ts";

const CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}';

function clientAt(port: number, overrides: Parameters<typeof apiAt>[1] = {}) {
  const api = apiAt(port, overrides);
  const asked: (string | undefined)[] = [];
  const client = createDownstreamClient({
    maxBytes: HELD_BYTES,
    transport: transportFor(api),
    api,
    correlationId: "c-1",
    obtainToken: async ({ claims }) => {
      asked.push(claims);
      return { accessToken: new Secret(claims === undefined ? "old" : "new"), expiresAt: 0 };
    },
  });
  return { client, asked };
}

/** Answers each path with JSON, and remembers what was asked. */
async function startPages(pages: (port: number) => Record<string, unknown>) {
  const asked: http.IncomingMessage[] = [];
  const port: number = await startApi((request, response) => {
    asked.push(request);
    const page = pages(port)[request.url ?? ""];
    response.writeHead(page === undefined ? 404 : 200, {
      "content-type": "application/json",
      "retry-after": "3",
    });
    response.end(JSON.stringify(page ?? {}));
  });
  return { port, asked };
}

async function collect<T>(pages: AsyncIterable<{ value: readonly T[]; deltaLink: string | undefined }>) {
  const values: T[] = [];
  let deltaLink: string | undefined;
  for await (const page of pages) {
    values.push(...page.value);
    deltaLink = page.deltaLink;
  }
  return { values, deltaLink };
}

describe("pages", () => {
  test("are read one after the other, empty ones too, with the same headers and the links' own query", async () => {
    const { port, asked } = await startPages((at) => ({
      "/v1.0/x?$top=2": { value: [1, 2], "@odata.nextLink": `http://127.0.0.1:${at}/v1.0/x?$skiptoken=a` },
      "/v1.0/x?$skiptoken=a": { value: [], "@odata.nextLink": `http://127.0.0.1:${at}/v1.0/x?$skiptoken=b` },
      "/v1.0/x?$skiptoken=b": {
        value: [3],
        "@odata.deltaLink": `http://127.0.0.1:${at}/v1.0/x?$deltatoken=c`,
      },
    }));
    const { client } = clientAt(port);
    const pages = client.pages<number>("/x", {
      query: { $top: 2 },
      headers: { ConsistencyLevel: "eventual" },
    });
    expect(await collect(pages)).toEqual({ values: [1, 2, 3], deltaLink: "/x?$deltatoken=c" });
    expect(asked.map(({ headers }) => headers.consistencylevel)).toEqual([
      "eventual",
      "eventual",
      "eventual",
    ]);
  });

  test("are not asked for before the loop comes to them", async () => {
    const { port, asked } = await startPages((at) => ({
      "/v1.0/x": { value: [1], "@odata.nextLink": `http://127.0.0.1:${at}/v1.0/x?p=2` },
    }));
    for await (const page of clientAt(port).client.pages("/x")) {
      expect(page.value).toEqual([1]);
      break;
    }
    expect(asked).toHaveLength(1);
  });

  test.each<[string, unknown, string]>([
    ["another host", { value: [], "@odata.nextLink": "https://evil.example/v1.0/x" }, "link_elsewhere"],
    ["another version", { value: [], "@odata.nextLink": "/beta/x" }, "link_elsewhere"],
    ["nowhere, being no collection", { error: 1 }, "no_collection"],
    ["nowhere, being refused", undefined, "status_404"],
  ])("that lead to %s end the loop, and no token goes there", async (_, page, reason) => {
    const { port, asked } = await startPages(() => ({ "/v1.0/x": page }));
    const failure = await collect(clientAt(port).client.pages("/x")).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "downstream_unreachable", reason });
    expect(asked).toHaveLength(1);
  });

  test("that lead to themselves end the loop", async () => {
    const { port, asked } = await startPages((at) => ({
      "/v1.0/x?p=1": { value: [1], "@odata.nextLink": `http://127.0.0.1:${at}/v1.0/x?p=1` },
    }));
    const failure = await collect(clientAt(port).client.pages("/x?p=1")).catch((error: unknown) => error);
    expect(failure).toMatchObject({ reason: "link_to_itself" });
    expect(asked).toHaveLength(1);
  });

  test("hand on the pause that a throttled one asks for", async () => {
    const { port } = await startPages(() => ({}));
    await expect(collect(clientAt(port).client.pages("/x"))).rejects.toMatchObject({ retryAfterSeconds: 3 });
  });
});

interface Requests {
  requests: {
    id: string;
    method: string;
    url: string;
    headers?: object;
    body?: unknown;
    dependsOn?: string[];
  }[];
}

/** Answers a batch round by round. */
async function startBatches(rounds: ((requests: Requests["requests"]) => unknown)[]) {
  const seen: { url: string; token: string; requests: Requests["requests"] }[] = [];
  const port = await startApi((request, response) => {
    void bodyOf(request).then((body) => {
      const { requests } = JSON.parse(`${body}`) as Requests;
      seen.push({ url: request.url ?? "", token: request.headers.authorization ?? "", requests });
      const answer = rounds[seen.length - 1]?.(requests);
      response.writeHead(answer === undefined ? 500 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? {}));
    });
  });
  return { port, seen };
}
const ok = (requests: Requests["requests"]) => ({
  responses: requests.map(({ id, url }) => ({ id, status: 200, headers: {}, body: { url } })).reverse(),
});

describe("a batch in code", () => {
  test("is one request, and each answer is found by its handle", async () => {
    const { port, seen } = await startBatches([ok]);
    const batch = clientAt(port).client.batch();
    const me = batch.get<{ url: string }>("/me", { query: { $select: "id" } });
    const mail = batch.post<{ url: string }>(["me", "a b"], { json: { a: 1 }, dependsOn: [me] });
    const answers = await batch.send();
    expect(answers.of(me)).toMatchObject({ status: 200, ok: true, body: { url: "/me?$select=id" } });
    expect(answers.of(mail).body.url).toBe("/me/a%20b");
    expect(seen).toEqual([
      {
        url: "/v1.0/$batch",
        token: "Bearer old",
        requests: [
          { id: "1", method: "GET", url: "/me?$select=id" },
          {
            id: "2",
            method: "POST",
            url: "/me/a%20b",
            headers: { "content-type": "application/json" },
            body: { a: 1 },
            dependsOn: ["1"],
          },
        ],
      },
    ]);
  });

  test("repeats throttled and challenged requests alone, until each is answered", async () => {
    const challenge = `Bearer error="insufficient_claims", claims="${Buffer.from(CLAIMS).toString("base64")}"`;
    const { port, seen } = await startBatches([
      () => ({
        responses: [
          { id: "1", status: 200, headers: {} },
          { id: "2", status: 429, headers: { "retry-after": "0" } },
          { id: "3", status: 401, headers: { "www-authenticate": challenge } },
          { id: "4", status: 424, headers: {} },
        ],
      }),
      ok,
      ok,
    ]);
    const { client, asked } = clientAt(port);
    const batch = client.batch();
    const [one, two, three] = [batch.post("/1"), batch.get("/2"), batch.get("/3")];
    const four = batch.get("/4", { dependsOn: [one, three] });
    const answers = await batch.send();
    expect([one, two, three, four].map((handle) => answers.of(handle).status)).toEqual([200, 200, 200, 200]);
    expect(seen.map(({ token, requests }) => [token, requests.map(({ id }) => id)])).toEqual([
      ["Bearer old", ["1", "2", "3", "4"]],
      ["Bearer new", ["3", "4"]],
      ["Bearer new", ["2"]],
    ]);
    expect(seen[1]?.requests[1]?.dependsOn).toEqual(["3"]);
    expect(asked).toEqual([undefined, CLAIMS]);
  });

  test("that is answered with something else rejects, and so does an answer that is missing", async () => {
    const refused = await startBatches([]);
    const batch = clientAt(refused.port).client.batch();
    batch.get("/me");
    await expect(batch.send()).rejects.toMatchObject({
      code: "downstream_unreachable",
      reason: "status_500",
    });

    const silent = await startBatches([() => ({ responses: [] })]);
    const other = clientAt(silent.port).client.batch();
    const me = other.get("/me");
    const answers = await other.send();
    expect(() => answers.of(me)).toThrow(expect.objectContaining({ reason: "part_unanswered" }));
  });

  test("takes twenty requests and not one more", async () => {
    const batch = clientAt(1).client.batch();
    for (let count = 0; count < 20; count++) batch.get("/me");
    expect(() => batch.get("/me")).toThrow(RangeError);
  });
});

/** An http server whose handler streams one answer of the API to its caller. */
async function startRoute(client: DownstreamClient): Promise<string> {
  const port = await listen(
    http.createServer((_request, response) => {
      void client
        .get("/big")
        .then((answer) => answer.stream(response))
        .catch(() => response.destroy());
    }),
  );
  return `http://127.0.0.1:${port}/`;
}

describe("an answer streamed to the caller", () => {
  test("brings its status and fields along, and none that is not the API's to say", async () => {
    const port = await startApi((_request, response) => {
      response.writeHead(206, {
        "content-type": "image/png",
        "set-cookie": "a=b",
        "content-range": "bytes 0-1/9",
      });
      response.end("ab");
    });
    const answer = await call(await startRoute(clientAt(port).client));
    expect([answer.status, `${answer.body}`, answer.headers["content-type"]]).toEqual([
      206,
      "ab",
      "image/png",
    ]);
    expect(answer.headers).not.toHaveProperty("set-cookie");
  });

  test("that the API cuts short is cut short", async () => {
    const port = await startRawApi((socket) =>
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        setImmediate(() => socket.destroy());
      }),
    );
    await expect(call(await startRoute(clientAt(port).client))).rejects.toThrow();
  });

  test("ends at the API when the caller leaves", async () => {
    const { port } = await startTorrent();
    const { client } = clientAt(port);
    const request = http.get(await startRoute(client), { agent: false });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    await once(response, "data");
    request.destroy();
    // The connection is free again: one more request gets through.
    expect((await client.get("/small")).status).toBe(200);
  });
});
