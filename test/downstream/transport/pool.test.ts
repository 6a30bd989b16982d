import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import type { lookup } from "node:dns";
import https from "node:https";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions, Transport } from "../../../src/downstream/contract.ts";
import { createTransport } from "../../../src/downstream/transport/pool.ts";
import type { GatewayError } from "../../../src/errors.ts";
import { createCertificate, toPem } from "../../emulator/certificate.ts";
import { apiAt, LIMITS } from "../api-options.ts";
import { listen, onCleanup, startApi, type TestTransportOptions, transportFor } from "../support.ts";

/** Asks for the API's root and says how it went. */
function ask(transport: Transport, api: DownstreamApiOptions): Promise<number | GatewayError> {
  return new Promise((resolve) => {
    transport.send(
      {
        target: { api, origin: new URL(api.baseUrl).origin, path: "/" },
        method: "GET",
        headers: [],
        body: undefined,
      },
      { head: resolve, chunk() {}, end() {}, failed: resolve },
    );
  });
}

const askOnce = (api: DownstreamApiOptions, options: TestTransportOptions = {}) =>
  ask(transportFor(api, options), api);

/** A resolver that answers each question with the next list of addresses. */
function resolver(...answers: string[][]): typeof lookup {
  let asked = 0;
  return ((_host: string, _options: unknown, callback: (...results: unknown[]) => void) => {
    const addresses = answers[Math.min(asked++, answers.length - 1)] ?? [];
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  }) as never;
}

describe("an API inside a private network", () => {
  let asked = 0;
  const start = async () => {
    asked = 0;
    return startApi((_request, response) => {
      asked++;
      response.end();
    });
  };
  const named = (host: string, port: number) =>
    apiAt(port, { baseUrl: `https://${host}:${port}`, allowPrivateNetwork: false });

  test.each([
    ["127.0.0.1", "a loopback address"],
    ["[::1]", "a loopback address of IPv6"],
    ["[::ffff:127.0.0.1]", "a mapped address"],
    ["2130706433", "a decimal address"],
    ["0x7f.1", "a hexadecimal address"],
    ["0177.0.0.1", "an octal address"],
    ["169.254.169.254", "the metadata address"],
    ["localhost", "a name for the loopback address"],
  ])("is not connected to without leave: https://%s, %s", async (host) => {
    const api = named(host, await start());
    expect(await askOnce(api)).toMatchObject({ code: "downstream_misconfigured", reason: "private_address" });
    expect(asked).toBe(0);
  });

  test("is not connected to under a public-looking name", async () => {
    const api = named("api.example", await start());
    const answer = await askOnce(api, { resolve: resolver(["10.0.0.1", "127.0.0.1", "::1"]) });
    expect(answer).toMatchObject({ code: "downstream_misconfigured", reason: "private_address" });
  });

  test("is judged by the one lookup that its connection uses, so that a changing name gains nothing", async () => {
    const api = named("api.example", await start());
    let lookups = 0;
    const counting = resolver(["10.0.0.1"], ["127.0.0.1"]);
    const transport = transportFor(api, {
      resolve: ((...parameters: Parameters<typeof counting>) => {
        lookups++;
        return counting(...parameters);
      }) as never,
    });
    for (let connection = 1; connection <= 3; connection++) {
      expect(await ask(transport, api)).toMatchObject({ code: "downstream_misconfigured" });
      expect(lookups).toBe(connection);
    }
    expect(asked).toBe(0);
  });

  test("is connected to with leave", async () => {
    expect(await askOnce(apiAt(await start()))).toBe(200);
  });
});

describe("a name that does not resolve", () => {
  test("is downstream_unreachable", async () => {
    const api = apiAt(443, { baseUrl: "https://nowhere.example", allowPrivateNetwork: false });
    const resolve = ((_host: string, _options: unknown, callback: (error: Error) => void) =>
      callback(Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" }))) as never;
    expect(await askOnce(api, { resolve })).toMatchObject({ code: "downstream_unreachable", reason: "dns" });
  });
});

describe("TLS to an API", () => {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const day = 86_400_000;
  const issue = (purpose: "authority" | "server", commonName: string, notAfter = Date.now() + day) =>
    toPem(
      createCertificate({
        commonName,
        subjectKey: authority.publicKey,
        issuerName: "Test CA",
        issuerKey: authority.privateKey,
        issuerPublicKey: authority.publicKey,
        notBefore: Date.now() - 2 * day,
        notAfter,
        purpose,
        ...(purpose === "server" ? { names: [commonName] } : {}),
      }),
    );
  const ca = issue("authority", "Test CA");
  const key = authority.privateKey.export({ type: "pkcs8", format: "pem" });
  const certificates = {
    good: issue("server", "127.0.0.1"),
    misnamed: issue("server", "127.0.0.2"),
    expired: issue("server", "127.0.0.1", Date.now() - day),
  };

  const start = async (name: keyof typeof certificates, options: https.ServerOptions = {}) => {
    const server = https.createServer({ key, cert: certificates[name], ...options }, (_request, response) => {
      response.end();
    });
    const port = await listen(server.on("tlsClientError", () => {}));
    return apiAt(port, { baseUrl: `https://127.0.0.1:${port}` });
  };

  test("works with a certificate that a trusted authority issued for the host", async () => {
    expect(await askOnce(await start("good"), { ca })).toBe(200);
  });

  test.each([
    ["an authority that is not trusted", "good", false, {}],
    ["another host's certificate", "misnamed", true, {}],
    ["a certificate that has expired", "expired", true, {}],
    [
      "an old protocol version",
      "good",
      true,
      { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" },
    ],
  ] as const)("fails with %s", async (_, name, trusted, options) => {
    const api = await start(name, options);
    const answer = await askOnce(api, trusted ? { ca } : {});
    expect(answer).toMatchObject({ code: "downstream_unreachable", reason: "tls" });
  });

  test("is verified even if the environment says not to", async () => {
    const api = await start("good");
    // In a process of its own: the environment that TLS reads is not the one that a test can change.
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--import", "tsx", new URL("tls-probe.ts", import.meta.url).pathname, api.baseUrl],
      { env: { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: "0", NODE_NO_WARNINGS: "1" } },
    );
    expect(stdout.trim()).toBe("tls");
  });
});

describe("a transport", () => {
  test("that is closed lets requests under way finish and refuses new ones as draining", async () => {
    let release = () => {};
    const port = await startApi((_request, response) => {
      release = () => response.end();
      response.flushHeaders();
    });
    const api = apiAt(port);
    const transport = createTransport({ apis: [api], ...LIMITS });
    expect(await ask(transport, api)).toBe(200);
    const closed = transport.close();
    expect(await ask(transport, api)).toMatchObject({ code: "draining" });
    release();
    await closed;
  });

  test("gives each API connections of its own", async () => {
    const port = await startApi((request, response) => {
      if (request.headers["x-api"] !== "slow") response.end();
    });
    const apis = [
      apiAt(port, { name: "slow", maxConcurrent: 1 }),
      apiAt(port, { name: "quick", maxConcurrent: 1 }),
    ] as const;
    const transport = createTransport({ apis, ...LIMITS });
    onCleanup(() => transport.destroy());
    const target = (api: DownstreamApiOptions) => ({ api, origin: new URL(api.baseUrl).origin, path: "/" });
    for (let round = 0; round < 2; round++) {
      transport.send(
        { target: target(apis[0]), method: "GET", headers: ["x-api", "slow"], body: undefined },
        { head() {}, chunk() {}, end() {}, failed() {} },
      );
    }
    expect(await ask(transport, apis[1])).toBe(200);
  });

  test("knows only the APIs it was made for", async () => {
    await expect(ask(createTransport({ apis: [], ...LIMITS }), apiAt(1))).rejects.toThrow(
      "no downstream API named graph",
    );
  });
});
