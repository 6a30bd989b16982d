import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { createDownstreamClient } from "../../../src/downstream/client.ts";
import type { DownstreamApiOptions } from "../../../src/downstream/contract.ts";
import { createForward } from "../../../src/downstream/forward.ts";
import { createLinkRewrite } from "../../../src/downstream/graph/links.ts";
import { compileTarget } from "../../../src/downstream/target/downstream-api.ts";
import type { GatewayError } from "../../../src/errors.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { createCertificate, toPem } from "../../emulator/certificate.ts";
import { apiAt, HELD_BYTES } from "../api-options.ts";
import {
  CHUNK,
  call,
  IN_FLIGHT,
  listen,
  NO_SHARES,
  startApi,
  startGateway,
  type TestTransportOptions,
  TOTAL,
  transportFor,
  untilStalled,
} from "../support.ts";

const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
const key = authority.privateKey.export({ type: "pkcs8", format: "pem" });
const issue = (purpose: "authority" | "server", commonName: string) =>
  toPem(
    createCertificate({
      commonName,
      subjectKey: authority.publicKey,
      issuerName: "Test CA",
      issuerKey: authority.privateKey,
      issuerPublicKey: authority.publicKey,
      notBefore: Date.now() - 86_400_000,
      notAfter: Date.now() + 86_400_000,
      purpose,
      ...(purpose === "server" ? { names: ["127.0.0.1", "localhost"] } : {}),
    }),
  );
const ca = issue("authority", "Test CA");
const cert = issue("server", "127.0.0.1");

const CLAIMS = Buffer.from('{"access_token":{"acrs":{"essential":true,"value":"c1"}}}').toString("base64");

interface Seen {
  readonly where: "api" | "elsewhere";
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: http.IncomingHttpHeaders;
}

let seen: Seen[] = [];
beforeEach(() => {
  seen = [];
});

type Answer = (
  url: string,
) =>
  | { status?: number; location?: string; headers?: http.OutgoingHttpHeaders; body?: string | Buffer }
  | undefined;

function listener(where: Seen["where"], answer: Answer): http.RequestListener {
  return (request, response) => {
    seen.push({ where, method: request.method, url: request.url, headers: request.headers });
    const { status, location, headers = {}, body = where } = answer(request.url ?? "") ?? {};
    response.writeHead(status ?? (location === undefined ? 200 : 302), {
      ...headers,
      ...(location === undefined ? {} : { location }),
    });
    response.end(body);
  };
}

/** Another origin, over TLS. */
async function startElsewhere(answer: Answer = () => undefined): Promise<string> {
  const server = https.createServer({ key, cert }, listener("elsewhere", answer));
  return `https://127.0.0.1:${await listen(server.on("tlsClientError", () => {}))}`;
}

async function startRedirecting(
  answer: Answer,
  api: Partial<DownstreamApiOptions> = {},
  transport: TestTransportOptions = {},
) {
  const port = await startApi(listener("api", answer));
  const options = apiAt(port, { followRedirects: true, ...api });
  const gateway = await startGateway({ api: options, transport: { ca, ...transport } });
  return { gateway, port, api: options };
}

const to =
  (location: string, status = 302): Answer =>
  (url) =>
    url === "/v1.0/start" ? { status, location, body: "moved" } : undefined;

const paths = () => seen.map(({ where, url }) => `${where} ${url}`);

describe("a redirect below the API's base URL", () => {
  test.each([301, 302, 303, 307, 308])("of status %i is followed with the token", async (status) => {
    const { gateway } = await startRedirecting(to("/v1.0/me?$select=id#top", status));
    const reply = await call(gateway.url("/graph/start"), { headers: { "x-own": "1" } });
    expect([reply.status, reply.body.toString(), reply.headers.location]).toEqual([200, "api", undefined]);
    expect(paths()).toEqual(["api /v1.0/start", "api /v1.0/me?$select=id"]);
    expect(seen[1]?.headers).toMatchObject({ authorization: "Bearer delegated", "x-own": "1" });
  });

  test("is followed for HEAD with HEAD", async () => {
    const { gateway } = await startRedirecting(to("me"));
    expect(await call(gateway.url("/graph/start"), { method: "HEAD" })).toMatchObject({ status: 200 });
    expect(seen.map(({ method }) => method)).toEqual(["HEAD", "HEAD"]);
  });

  test("answers a claims challenge as any request does", async () => {
    const challenge = `Bearer error="insufficient_claims", claims="${CLAIMS}"`;
    const { gateway } = await startRedirecting((url) =>
      url === "/v1.0/start"
        ? { location: "/v1.0/me" }
        : { status: 401, headers: { "www-authenticate": challenge } },
    );
    await call(gateway.url("/graph/start"));
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "challenged", status: 401 });
  });

  test.each([300, 304, 305, 306])("of status %i passes as it is", async (status) => {
    const { gateway } = await startRedirecting(to("/v1.0/me", status));
    expect(await call(gateway.url("/graph/start"))).toMatchObject({ status });
    expect(seen).toHaveLength(1);
  });

  test.each(["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])("of %s passes as it is", async (method) => {
    const { gateway } = await startRedirecting(to("/v1.0/me", 307));
    const reply = await call(gateway.url("/graph/start"), { method });
    expect([reply.status, reply.headers.location, reply.body.toString()]).toEqual([307, "/v1.0/me", "moved"]);
    expect(seen).toHaveLength(1);
  });

  test("of a GET with a body passes as it is", async () => {
    const { gateway } = await startRedirecting(to("/v1.0/me"));
    const options = { method: "GET", headers: { "content-length": "2" }, body: "hi" };
    expect(await call(gateway.url("/graph/start"), options)).toMatchObject({ status: 302 });
    expect(seen).toHaveLength(1);
  });

  test("passes as it is where the API has not opted in", async () => {
    const { gateway } = await startRedirecting(to("/v1.0/me"), { followRedirects: false });
    expect(await call(gateway.url("/graph/start"))).toMatchObject({ status: 302 });
    expect(seen).toHaveLength(1);
  });

  test.each([
    ["out of the base", "/beta/me"],
    ["out of the base by dot segments", "/v1.0/../beta/me"],
    ["to the base's namesake", "/v1.0x/me"],
    ["to an encoded separator", "/v1.0/a%2fb"],
    ["to a path encoded twice", "/v1.0/a%252fb"],
    ["to an empty segment", "/v1.0//me"],
    ["to a path that the route does not allow", "/v1.0/admin/keys"],
    ["to a path that another route has", "/v1.0/reserved/x"],
    ["to itself", "/v1.0/start"],
    ["to a name and password", "http://me:pw@127.0.0.1/v1.0/me"],
    ["to no URL", "http://[/me"],
    ["to a URL that is no http", "javascript:alert(1)"],
    ["to nothing", ""],
    ["to more bytes than a target has", `/v1.0/${"a".repeat(16_384)}`],
  ])("that leads %s passes as it is", async (_, location) => {
    const port = await startApi(listener("api", to(location)));
    const api = apiAt(port, { followRedirects: true });
    const rules = { path: "/graph", methods: ["GET"], allow: ["/start", "/me", "/a/**", "/reserved/**"] };
    const judge = compileTarget(api, { ...rules, reserved: ["/graph/reserved"] });
    const forward = createForward({
      transport: transportFor(api, { ca, maxHeaderBytes: 65_536 }),
      fairness: { replayBytes: 0, ...NO_SHARES },
    });
    const front = await startApi((incoming, outgoing) => {
      const target = judge("GET", incoming.url ?? "");
      const sent = { target, token: new Secret("delegated"), correlationId: "c" };
      void forward({ incoming, framing: { kind: "none" }, outgoing, ...sent });
    });
    const reply = await call(`http://127.0.0.1:${front}/graph/start`, { maxHeaderSize: 65_536 });
    expect([reply.status, reply.headers.location, reply.body.toString()]).toEqual([302, location, "moved"]);
    expect(paths()).toEqual(["api /v1.0/start"]);
  });
});

describe("a redirect to another origin", () => {
  test("is followed without the token, and with nothing of the caller but what selects the answer", async () => {
    const elsewhere = await startElsewhere();
    const { gateway } = await startRedirecting(to(`${elsewhere}/file?sig=a%2Fb+c`));
    const selecting = {
      accept: "text/plain",
      "accept-language": "de",
      range: "bytes=0-3",
      "if-range": '"e"',
    };
    const others = { "user-agent": "me", cookie: "c=1", "x-own": "1", prefer: "x", traceparent: "00-1-1-00" };
    const reply = await call(gateway.url("/graph/start"), { headers: { ...selecting, ...others } });
    expect([reply.status, reply.body.toString()]).toEqual([200, "elsewhere"]);
    expect(paths()).toEqual(["api /v1.0/start", "elsewhere /file?sig=a%2Fb+c"]);
    const { host, connection, ...sent } = seen[1]?.headers ?? {};
    expect(sent).toEqual(selecting);
    expect(host).toBe(elsewhere.slice("https://".length));
  });

  test("does not bring the token back when it returns to the API", async () => {
    let home = "";
    const elsewhere = await startElsewhere(() => ({ location: home }));
    const { gateway, port } = await startRedirecting(to(`${elsewhere}/file`));
    // By https only, which the API does not speak: the way back to a plain one is refused.
    home = `http://127.0.0.1:${port}/v1.0/me`;
    await call(gateway.url("/graph/start"));
    expect(await gateway.outcomes.next()).toMatchObject({ reason: "redirect_refused" });
    expect(paths()).toEqual(["api /v1.0/start", "elsewhere /file"]);
  });

  test("does not bring the token back to an API that speaks https either", async () => {
    let home = "";
    const elsewhere = await startElsewhere(() => ({ location: home }));
    const server = https.createServer({ key, cert }, listener("api", to(`${elsewhere}/file`)));
    const baseUrl = `https://127.0.0.1:${await listen(server)}/v1.0`;
    home = `${baseUrl}/me`;
    const gateway = await startGateway({
      api: apiAt(0, { baseUrl, followRedirects: true }),
      transport: { ca },
    });
    expect(await call(gateway.url("/graph/start"))).toMatchObject({ status: 200 });
    expect(paths()).toEqual(["api /v1.0/start", "elsewhere /file", "api /v1.0/me"]);
    expect(seen.map(({ headers }) => headers.authorization)).toEqual([
      "Bearer delegated",
      undefined,
      undefined,
    ]);
  });

  test("by plain http passes as it is", async () => {
    const other = await startApi(listener("elsewhere", () => undefined));
    const { gateway } = await startRedirecting(to(`http://127.0.0.1:${other}/file`));
    expect(await call(gateway.url("/graph/start"))).toMatchObject({ status: 302 });
    expect(paths()).toEqual(["api /v1.0/start"]);
  });

  test("cannot ask for the user's claims, and its JSON stays as it is", async () => {
    const link = '{"@odata.nextLink":"http://127.0.0.1/v1.0/me"}';
    const challenge = `Bearer error="insufficient_claims", claims="${CLAIMS}"`;
    const elsewhere = await startElsewhere((url) => ({
      status: url === "/401" ? 401 : 200,
      headers: { "www-authenticate": challenge, "content-type": "application/json" },
      body: link,
    }));
    const port = await startApi(
      listener("api", (url) => ({ location: elsewhere + url.slice("/v1.0".length) })),
    );
    const api = apiAt(port, { followRedirects: true });
    const rewrite = createLinkRewrite(
      { ...api, baseUrl: "http://127.0.0.1/v1.0" },
      "https://gateway.example",
    );
    const gateway = await startGateway({ api, transport: { ca }, forward: { rewrite } });
    expect((await call(gateway.url("/graph/file"))).body.toString()).toBe(link);
    expect(await call(gateway.url("/graph/401"))).toMatchObject({ status: 401 });
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", status: 200 });
    expect(await gateway.outcomes.next()).toMatchObject({ kind: "answered", status: 401 });
  });

  test("is refused where the other host has no public address, without a word of its address", async () => {
    const elsewhere = await startElsewhere();
    const server = https.createServer(
      { key, cert },
      listener("api", to(`${elsewhere.replace("127.0.0.1", "10.0.0.1")}/file?sig=secret`)),
    );
    const port = await listen(server);
    const api = apiAt(port, { followRedirects: true, baseUrl: `https://127.0.0.1:${port}/v1.0` });
    const transport = transportFor(api, { ca });
    const judge = compileTarget(api, { path: "/graph", methods: ["GET"], allow: ["/**"] });
    const target = judge("GET", "/graph/start");
    const failure = await new Promise<GatewayError>((resolve, reject) => {
      // Connections to the API are open to the loopback already; those to elsewhere are made when first needed.
      const request = { target, method: "GET", headers: [], body: undefined };
      Object.assign(api, { allowPrivateNetwork: false });
      transport.send(request, { head: reject, chunk() {}, end() {}, failed: resolve });
    });
    expect(failure).toMatchObject({ code: "downstream_unreachable", reason: "redirect_private_address" });
    expect(JSON.stringify([failure, failure.message, failure.cause, failure.diagnostics])).not.toMatch(
      /sig|10\.0/,
    );
  });

  test("verifies the other host's certificate", async () => {
    const elsewhere = await startElsewhere();
    const { gateway } = await startRedirecting(to(`${elsewhere}/file`), {}, { ca: cert });
    await call(gateway.url("/graph/start"));
    expect(await gateway.outcomes.next()).toMatchObject({ code: "downstream_unreachable", reason: "tls" });
  });

  test("streams at the caller's pace", async () => {
    let taken = 0;
    const server = https.createServer({ key, cert }, async (_request, response) => {
      while (taken < TOTAL && !response.destroyed) {
        taken += CHUNK.length;
        if (!response.write(CHUNK)) await new Promise((resolve) => response.once("drain", resolve));
      }
      response.end();
    });
    const { gateway } = await startRedirecting(to(`https://127.0.0.1:${await listen(server)}/big`));
    const [response] = (await once(http.get(gateway.url("/graph/start"), { agent: false }), "response")) as [
      http.IncomingMessage,
    ];
    expect(await untilStalled(() => taken)).toBeLessThan(IN_FLIGHT);
    let received = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) received += chunk.length;
    expect(received).toBe(TOTAL);
  });
});

describe("a chain of redirects", () => {
  const next: Answer = (url) => ({ location: `/v1.0/${Number(url.slice("/v1.0/".length)) + 1}` });

  test("is followed five times, and no sixth", async () => {
    const { gateway } = await startRedirecting((url) => (url === "/v1.0/5" ? undefined : next(url)));
    expect(await call(gateway.url("/graph/0"))).toMatchObject({ status: 200 });
    expect(seen).toHaveLength(6);
    const endless = await startRedirecting(next);
    await call(endless.gateway.url("/graph/0"));
    expect(await endless.gateway.outcomes.next()).toMatchObject({
      code: "downstream_unreachable",
      reason: "redirect_limit",
    });
    expect(seen).toHaveLength(6 + 6);
  });

  test("that closes ends at once", async () => {
    const { gateway } = await startRedirecting((url) => ({
      location: url === "/v1.0/a" ? "/v1.0/b" : "/v1.0/a",
    }));
    await call(gateway.url("/graph/a"));
    expect(await gateway.outcomes.next()).toMatchObject({ reason: "redirect_loop" });
    expect(seen).toHaveLength(2);
  });

  test("has one deadline", async () => {
    const port = await startApi((request, response) => {
      seen.push({ where: "api", method: request.method, url: request.url, headers: {} });
      setTimeout(() => response.writeHead(302, { location: `${request.url}x` }).end(), 150);
    });
    const gateway = await startGateway({ api: apiAt(port, { followRedirects: true, timeoutMs: 400 }) });
    await call(gateway.url("/graph/a"));
    expect(await gateway.outcomes.next()).toMatchObject({ code: "downstream_timeout" });
    expect(seen.length).toBeLessThan(5);
  });
});

describe("a handler's client", () => {
  test("follows redirects of GET by the same rules", async () => {
    const elsewhere = await startElsewhere();
    const port = await startApi(listener("api", to(`${elsewhere}/file`)));
    const api = apiAt(port, { followRedirects: true });
    const client = createDownstreamClient({
      maxBytes: HELD_BYTES,
      api,
      transport: transportFor(api, { ca }),
      correlationId: "c-1",
      obtainToken: async () => ({ accessToken: new Secret("delegated"), expiresAt: 0 }),
    });
    expect(await (await client.get("/start")).text()).toBe("elsewhere");
    expect(seen.map(({ headers }) => headers.authorization)).toEqual(["Bearer delegated", undefined]);
  });
});
