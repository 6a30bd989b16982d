/** APIs, `fetch` and an exporter's agent, each through a real proxy that asks for user and password. */

import http, { type RequestListener } from "node:http";
import https from "node:https";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { readProxies } from "../../src/config/proxies.ts";
import type { DownstreamApiOptions } from "../../src/downstream/contract.ts";
import { createTransport } from "../../src/downstream/transport/pool.ts";
import type { ConfigurationFault } from "../../src/errors.ts";
import { boundedFetch } from "../../src/foundation/bounded-fetch.ts";
import { createProxyAgent } from "../../src/outbound/agent.ts";
import { createOutboundFetch } from "../../src/outbound/fetch.ts";
import { createProxyRules } from "../../src/outbound/proxies.ts";
import { apiAt, LIMITS } from "../downstream/api-options.ts";
import { listen } from "../downstream/support.ts";
import { describeWithProxies, type ForwardProxy, startForwardProxy } from "../support/forward-proxy.ts";
import { createServerCertificate } from "../support/server-certificate.ts";

const { key, cert: ca } = createServerCertificate("localhost");

const echo: RequestListener = async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  response.setHeader("x-fields", Object.keys(request.headers).join());
  response.end(`${request.method} ${request.headers.host} ${request.url} ${body}`);
};

function rulesFor(env: Record<string, string>) {
  const faults: ConfigurationFault[] = [];
  const options = readProxies(env, faults);
  expect(faults).toEqual([]);
  return { options, proxyFor: createProxyRules(options) };
}

describeWithProxies("connections through a forward proxy", (kind) => {
  let proxy: ForwardProxy;
  beforeAll(async () => {
    proxy = await startForwardProxy(kind);
  });
  afterAll(() => proxy.close());

  const environment = (url = proxy.url) => ({ https_proxy: url, HTTP_PROXY: url });

  function ask(api: DownstreamApiOptions, env: Record<string, string>, body?: Buffer): Promise<string> {
    const { proxyFor } = rulesFor(env);
    const transport = createTransport({
      apis: [api],
      ...LIMITS,
      proxyFor,
      ca,
    });
    const { origin } = new URL(api.baseUrl);
    return new Promise<string>((resolve) => {
      let answer = "";
      transport.send(
        { target: { api, origin, path: "/v1.0/me?x=1" }, method: body ? "POST" : "GET", headers: [], body },
        {
          head: (status, headers) => {
            answer = `${status} ${String(headers["x-fields"]).includes("proxy-authorization")} `;
          },
          chunk: (chunk) => {
            answer += chunk;
          },
          end: () => resolve(answer),
          failed: ({ code, reason, diagnostics }) =>
            resolve(`${code} ${reason} ${JSON.stringify(diagnostics)}`),
        },
      );
    }).finally(() => transport.destroy());
  }

  test("reach an https API by a tunnel", async () => {
    const port = await listen(https.createServer({ key, cert: ca }, echo));
    const api = apiAt(port, { baseUrl: `https://localhost:${port}/v1.0` });
    const before = (await proxy.requests()).length;
    expect(await ask(api, environment(), Buffer.from("body"))).toBe(
      `200 false POST localhost:${port} /v1.0/me?x=1 body`,
    );
    expect((await proxy.requests(before + 1)).slice(before)).toEqual([`CONNECT localhost:${port}`]);
  });

  test("reach an http API by a request in absolute form, and no proxy credentials reach the API", async () => {
    const port = await listen(http.createServer(echo));
    const api = apiAt(port, { baseUrl: `http://localhost:${port}/v1.0` });
    const before = (await proxy.requests()).length;
    expect(await ask(api, environment())).toBe(`200 false GET localhost:${port} /v1.0/me?x=1 `);
    expect((await proxy.requests(before + 1)).slice(before)).toEqual([
      `GET http://localhost:${port}/v1.0/me?x=1`,
    ]);
  });

  test("that NO_PROXY excepts are made directly", async () => {
    const port = await listen(http.createServer(echo));
    const api = apiAt(port, { baseUrl: `http://localhost:${port}/v1.0` });
    const before = (await proxy.requests()).length;
    const env = { ...environment(), NO_PROXY: `example.com,localhost:${port}` };
    expect(await ask(api, env)).toBe(`200 false GET localhost:${port} /v1.0/me?x=1 `);
    expect((await proxy.requests()).length).toBe(before);
  });

  test("without the right password fail as the proxy's refusal", async () => {
    const port = await listen(https.createServer({ key, cert: ca }, echo));
    const api = apiAt(port, { baseUrl: `https://localhost:${port}/v1.0` });
    const refused = await ask(api, environment(proxy.wrongUrl));
    expect(refused).toMatch(/^downstream_unreachable proxy_refused .*"proxyStatus":40[17]/);
    const plain = apiAt(port, { baseUrl: `http://localhost:${port}/v1.0` });
    // tinyproxy says 401 where RFC 9110 §15.5.8 says 407; that one cannot be told from the API's own.
    expect(await ask(plain, environment(proxy.wrongUrl))).toMatch(
      /^(?:downstream_unreachable proxy_refused|401)/,
    );
  });

  test("refuse a private address that the URL spells, for an API without leave", async () => {
    const api = apiAt(443, { baseUrl: "https://10.0.0.1", allowPrivateNetwork: false });
    const before = (await proxy.requests()).length;
    expect(await ask(api, environment())).toMatch(/^downstream_misconfigured private_address/);
    expect((await proxy.requests()).length).toBe(before);
  });

  test("carry fetch to Entra and its keys, https and http", async () => {
    const secure = await listen(https.createServer({ key, cert: ca }, echo));
    const plain = await listen(http.createServer(echo));
    const { proxyFor } = rulesFor(environment());
    const outbound = createOutboundFetch({ proxyFor, ca });
    const bounds = { timeoutMs: 10_000, maxBytes: 1_000 };
    const before = (await proxy.requests()).length;
    const grant = { ...bounds, method: "POST" as const, body: "grant" };
    const post = await boundedFetch(outbound.fetch, `https://localhost:${secure}/token`, grant);
    expect(post.text).toBe(`POST localhost:${secure} /token grant`);
    const keys = await boundedFetch(outbound.fetch, `http://localhost:${plain}/keys`, bounds);
    expect(keys.text).toBe(`GET localhost:${plain} /keys `);
    expect(keys.headers.get("X-Fields")).not.toContain("proxy-authorization");
    outbound.close();
    expect([...(await proxy.requests(before + 2))].slice(before).sort()).toEqual(
      [`CONNECT localhost:${secure}`, `GET http://localhost:${plain}/keys`].sort(),
    );
  });

  test.each(["https", "http"])(
    "carry what is sent with node:%s, as an exporter of traces does",
    async (scheme) => {
      const server =
        scheme === "https" ? https.createServer({ key, cert: ca }, echo) : http.createServer(echo);
      const port = await listen(server);
      const url = new URL(`${scheme}://localhost:${port}/v1/traces`);
      const server_ = rulesFor(environment()).proxyFor(url);
      if (server_ === undefined) throw new Error("no proxy for it");
      const agent = createProxyAgent(server_, url, { ca, keepAlive: true });
      const before = (await proxy.requests()).length;
      const answer = await new Promise<string>((resolve, reject) => {
        const request = (scheme === "https" ? https : http).request(
          url,
          { method: "POST", agent },
          (response) => {
            let text = "";
            response.on("data", (chunk) => {
              text += chunk;
            });
            response.on("end", () => resolve(text));
          },
        );
        request.on("error", reject).end("spans");
      });
      agent.destroy();
      expect(answer).toBe(`POST localhost:${port} /v1/traces spans`);
      const asked =
        scheme === "https" ? `CONNECT localhost:${port}` : `POST http://localhost:${port}/v1/traces`;
      expect((await proxy.requests(before + 1)).slice(before)).toEqual([asked]);
    },
  );
});

test("a proxy that is not there is named as such", async () => {
  const vacated = http.createServer();
  const port = await listen(vacated);
  await new Promise((resolve) => vacated.close(resolve));
  const { proxyFor } = rulesFor({ HTTPS_PROXY: `http://127.0.0.1:${port}` });
  const api = apiAt(443, { baseUrl: "https://api.example" });
  const transport = createTransport({ apis: [api], ...LIMITS, proxyFor });
  const reason = await new Promise((resolve) => {
    transport.send(
      {
        target: { api, origin: "https://api.example", path: "/" },
        method: "GET",
        headers: [],
        body: undefined,
      },
      { head() {}, chunk() {}, end() {}, failed: (error) => resolve(error.reason) },
    );
  });
  expect(reason).toBe("proxy_unreachable");
  await transport.destroy();
});
