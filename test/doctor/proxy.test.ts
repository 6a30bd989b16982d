/** The environment's proxies: the doctor says which destination takes which, and why one does not work. */

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { describeWithProxies, type ForwardProxy, startForwardProxy } from "../support/forward-proxy.ts";
import { createPatient, type Patient } from "./support.ts";

const SLOW_MS = 60_000;

let emulator: Emulator;
let patient: Patient;
beforeAll(async () => {
  emulator = await startEmulator();
  patient = await createPatient(emulator);
});
afterAll(async () => {
  await patient.close();
  await emulator.close();
});

interface TestProxy {
  readonly url: string;
  /** Requests so far, such as `CONNECT localhost:443`. */
  readonly asked: string[];
  /** What it answers; 200 opens tunnels. */
  status: number;
  close(): Promise<void>;
}

async function startProxy(): Promise<TestProxy> {
  const sockets = new Set<Socket>();
  const asked: string[] = [];
  const server: Server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(proxy.status).end();
  });
  server.on("connection", (socket) => sockets.add(socket));
  server.on("connect", ({ url = "" }, socket: Socket) => {
    asked.push(`CONNECT ${url}`);
    if (proxy.status !== 200) {
      socket.end(`HTTP/1.1 ${proxy.status} No\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const { hostname, port } = new URL(`https://${url}`);
    const onward = connect(Number(port || 443), hostname, () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
    socket.on("error", () => onward.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy: TestProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    status: 200,
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
  return proxy;
}

let proxy: TestProxy;
beforeEach(async () => {
  proxy = await startProxy();
});
afterEach(() => proxy.close());

const hostOf = (url: string) => new URL(url).host;
/** The checks of other rooms are tested elsewhere. */
const others = { skip: ["ports", "token-request", "downstream", "shared-cache"] } as const;
const diagnose = (env: Record<string, string>) => patient.diagnose({ env, options: others });

test("without a proxy in the environment one line says that every connection is direct", async () => {
  const report = await diagnose({});
  expect(report.verdicts.filter(({ check }) => check === "proxy")).toEqual([
    { check: "proxy", outcome: "ok", finding: expect.stringContaining("every connection is direct") },
  ]);
});

test("Entra and each API are shown with the proxy that they take, which is asked for a tunnel to each", async () => {
  const { port } = new URL(proxy.url);
  const report = await diagnose({ HTTPS_PROXY: `http://gateway:s3cret@127.0.0.1:${port}` });
  expect(report).toMatchObject({ works: true, text: "" });
  for (const [about, url] of [
    ["entra", emulator.authorityHost],
    ["graph", emulator.graphUrl],
  ] as const) {
    const { origin, host } = new URL(url);
    expect(report.of("proxy", about)).toMatchObject({
      outcome: "ok",
      finding: `${origin} takes ${proxy.url}, which opens a tunnel (CONNECT)`,
      facts: { destination: origin, proxy: proxy.url },
    });
    expect(proxy.asked).toContain(`CONNECT ${host}`);
  }
});

test("a destination that NO_PROXY excepts is shown with the entry that does it, and the proxy is not asked", async () => {
  const report = await diagnose({
    HTTPS_PROXY: proxy.url,
    NO_PROXY: `example.com,${hostOf(emulator.graphUrl)},other.example`,
  });
  expect(report.of("proxy", "graph")).toMatchObject({
    outcome: "ok",
    finding: expect.stringContaining(`the entry ${hostOf(emulator.graphUrl)} of NO_PROXY excepts it`),
  });
  expect(proxy.asked).toEqual([`CONNECT ${hostOf(emulator.authorityHost)}`]);
});

test("with HTTP_PROXY alone, https destinations are shown to be connected to directly", async () => {
  const report = await diagnose({ HTTP_PROXY: proxy.url, NO_PROXY: "example.com" });
  expect(report.of("proxy", "entra")).toMatchObject({
    outcome: "ok",
    finding: expect.stringMatching(/connected to directly: HTTPS_PROXY is not set$/),
  });
  expect(proxy.asked).toEqual([]);
});

test("a link-local destination is shown to take no proxy, whatever NO_PROXY holds", async () => {
  const report = await diagnose({
    HTTPS_PROXY: proxy.url,
    NO_PROXY: "example.com",
    GRAPH_URL: "https://169.254.10.10/v1.0",
  });
  expect(report.of("proxy", "graph").finding).toMatch(
    /directly: link-local addresses answer to this machine/,
  );
});

test("token platforms and the collector of traces are destinations, too; http is asked for in absolute form", async () => {
  const env = {
    HTTPS_PROXY: proxy.url,
    HTTP_PROXY: proxy.url,
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector.example:4318",
    SYSTEM_OIDCREQUESTURI: `${emulator.authorityHost}oidc`,
    ACTIONS_ID_TOKEN_REQUEST_URL: `${emulator.authorityHost}github`,
  };
  const report = await diagnose(env);
  expect(report.of("proxy", "traces").finding).toBe(
    `http://collector.example:4318 takes ${proxy.url}, which passes requests on (status 200)`,
  );
  expect(proxy.asked).toContain("HEAD http://collector.example:4318/v1/traces");
  for (const about of ["github-actions", "azure-pipelines"])
    expect(report.of("proxy", about).outcome).toBe("ok");
  proxy.status = 407;
  expect((await diagnose(env)).of("proxy", "traces")).toMatchObject({
    outcome: "fault",
    fix: expect.stringContaining("write user and password into HTTP_PROXY"),
  });
});

describe("a proxy that opens no tunnel is a fault", () => {
  test.each([
    [407, "", /asks for user and password/, /^write user and password into HTTPS_PROXY, percent-encoded/],
    [407, "gateway:s3cret@", /asks for user and password/, /^check user and password in HTTPS_PROXY/],
    [403, "", /rules do not allow this connection/, /allow CONNECT to localhost:\d+|allow CONNECT to 127/],
    [502, "", /cannot reach the destination/, /resolve and reach/],
    [504, "", /cannot reach the destination/, /NO_PROXY/],
    [302, "", /opens no tunnel/, /allow CONNECT/],
  ])("%i, with the user information %j", async (status, user, finding, fix) => {
    proxy.status = status;
    const report = await diagnose({ HTTPS_PROXY: proxy.url.replace("//", `//${user}`) });
    expect(report.works).toBe(false);
    expect(report.of("proxy", "entra")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(finding),
      fix: expect.stringMatching(fix),
      facts: { status, proxy: proxy.url },
      commands: [expect.stringMatching(/^curl -sv -x "\$HTTPS_PROXY" https:/)],
    });
    expect(report.of("proxy", "entra").finding).toContain(`answers ${status} to CONNECT`);
  });

  test("and so is one without a listener", async () => {
    const vacated = await startProxy();
    await vacated.close();
    const report = await diagnose({ HTTPS_PROXY: vacated.url });
    expect(report.of("proxy", "entra")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(/cannot be reached: the connection is refused$/),
      fix: expect.stringMatching(/^check host, port and scheme of HTTPS_PROXY/),
    });
  });
});

test("a proxy that opens TLS with an authority of its own is a fault that names NODE_EXTRA_CA_CERTS", async () => {
  const wrong = emulator.faults.wrongCertificate("authority");
  try {
    const report = await diagnose({ HTTPS_PROXY: proxy.url });
    expect(report.of("proxy", "entra")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(
        /opens a tunnel, and .* fails in it: its TLS certificate is not trusted/,
      ),
      fix: expect.stringMatching(/of a proxy on the way that opens TLS\) in NODE_EXTRA_CA_CERTS/),
    });
  } finally {
    wrong.end();
  }
});

test("entries of NO_PROXY without a meaning are a warning that names them", async () => {
  const report = await diagnose({ HTTPS_PROXY: proxy.url, NO_PROXY: "10.*, example.com, 10.0.0.0/40" });
  expect(report.works).toBe(true);
  expect(report.of("proxy", "NO_PROXY")).toMatchObject({
    outcome: "warning",
    finding: expect.stringMatching(/: 10\.\*, 10\.0\.0\.0\/40$/),
  });
});

test.each(["ALL_PROXY", "all_proxy"])("%s, which is not read, is a warning", async (name) => {
  const report = await diagnose({ [name]: proxy.url });
  expect(report.of("proxy", "ALL_PROXY")).toMatchObject({
    outcome: "warning",
    fix: expect.stringContaining("HTTPS_PROXY"),
  });
});

describe("where Entra gives no answer, the discovery check", () => {
  const unreachable = { AZURE_AUTHORITY_HOST: "https://login.invalid/" };

  test("hints at HTTPS_PROXY where it is not set", async () => {
    expect((await diagnose(unreachable)).of("discovery").fix).toMatch(/by a proxy alone, set HTTPS_PROXY/);
    const plainOnly = await diagnose({ ...unreachable, HTTP_PROXY: proxy.url });
    expect(plainOnly.of("discovery").fix).toMatch(/by a proxy alone, set HTTPS_PROXY/);
  });

  test("hints at the entry of NO_PROXY that keeps Entra from the proxy", async () => {
    const report = await diagnose({ ...unreachable, HTTPS_PROXY: proxy.url, NO_PROXY: ".invalid" });
    expect(report.of("discovery").fix).toMatch(
      /the entry \.invalid of NO_PROXY excepts it: .* take that entry out/,
    );
  });

  test("hints at neither where a proxy is on the way", async () => {
    proxy.status = 502;
    const report = await diagnose({ ...unreachable, HTTPS_PROXY: proxy.url });
    expect(report.of("discovery").fix).not.toMatch(/HTTPS_PROXY|entry/);
  });
});

describeWithProxies("the doctor's look at a real proxy", (kind) => {
  let real: ForwardProxy;
  beforeAll(async () => {
    real = await startForwardProxy(kind);
  }, SLOW_MS);
  afterAll(() => real.close());

  test("with the right password it opens tunnels", async () => {
    const report = await diagnose({ HTTPS_PROXY: real.url });
    expect([report.of("proxy", "entra").outcome, report.of("proxy", "graph").outcome]).toEqual(["ok", "ok"]);
  });

  test("with a wrong one it asks for user and password", async () => {
    const report = await diagnose({ HTTPS_PROXY: real.wrongUrl });
    expect(report.of("proxy", "entra")).toMatchObject({
      outcome: "fault",
      finding: expect.stringContaining("it asks for user and password"),
      fix: expect.stringMatching(/^check user and password in HTTPS_PROXY/),
    });
  });
});
