import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { TokenProxyOptions } from "../../src/credential/contract.ts";
import { createTokenProxy } from "../../src/credential/token-proxy.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { createCertificateAuthority } from "../emulator/certificate-authority.ts";
import { createDirectory } from "./files.ts";

const authority = createCertificateAuthority(Date.now);
const { key, cert } = authority.issueServerCertificate(["proxy.internal"]);
const directory = createDirectory();

let server: Server;
let base: string;
let seen: {
  method?: string | undefined;
  url?: string | undefined;
  headers: IncomingHttpHeaders;
  body: string;
}[];
let answer: { status: number; bytes: number; breaks?: boolean; silent?: boolean };

beforeAll(async () => {
  server = createServer({ key, cert }, async (incoming, outgoing) => {
    let body = "";
    for await (const chunk of incoming) body += chunk;
    const { method, url, headers } = incoming;
    seen.push({ method, url, headers, body });
    if (answer.silent === true) return;
    outgoing.writeHead(answer.status);
    outgoing.write("x".repeat(answer.bytes));
    if (answer.breaks === true) setImmediate(() => outgoing.destroy());
    else outgoing.end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  directory.remove();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  seen = [];
  answer = { status: 200, bytes: 10 };
});

const proxyAt = (path = "", options: Partial<TokenProxyOptions> = {}) =>
  createTokenProxy({
    url: base + path,
    timeoutMs: 10_000,
    sniName: "proxy.internal",
    caData: authority.certificatePem,
    ...options,
  });
const form = new URLSearchParams({ grant_type: "client_credentials", scope: "a b" });
const ENDPOINT = "https://login.example/home/oauth2/v2.0/token?slice=1";

async function faultOf(asking: Promise<unknown>) {
  const cause = await asking.then(
    () => new Error("was answered"),
    (error: unknown) => error,
  );
  if (!(cause instanceof ConfigurationError)) throw cause;
  return cause.faults;
}

describe("a token request over the proxy", () => {
  test.each([
    ["", "/home/oauth2/v2.0/token?slice=1"],
    ["/", "/home/oauth2/v2.0/token?slice=1"],
    ["/binding", "/binding/home/oauth2/v2.0/token?slice=1"],
    ["/binding/", "/binding/home/oauth2/v2.0/token?slice=1"],
  ])("is a form that is posted below the proxy's own path %j", async (path, url) => {
    expect(await proxyAt(path)(ENDPOINT, form)).toEqual({ status: 200, text: "x".repeat(10) });
    expect(seen).toMatchObject([
      {
        method: "POST",
        url,
        headers: {
          "content-type": "application/x-www-form-urlencoded",
          accept: "application/json",
          connection: "close",
        },
        body: "grant_type=client_credentials&scope=a+b",
      },
    ]);
  });

  test("gives whatever status the proxy answers with", async () => {
    answer = { status: 403, bytes: 0 };
    expect(await proxyAt()(ENDPOINT, form)).toEqual({ status: 403, text: "" });
  });

  test("trusts the CA of a file, which is read for each request", async () => {
    const caFile = directory.write("ca.pem", authority.certificatePem);
    const send = proxyAt("", { caData: undefined, caFile });
    expect((await send(ENDPOINT, form)).status).toBe(200);
    directory.write("ca.pem", createCertificateAuthority(Date.now).certificatePem);
    expect((await faultOf(send(ENDPOINT, form)))[0]?.problem).toMatch(
      /gave no answer \(\w*(?:SIGNATURE|CERT)\w*\)$/,
    );
  });

  test("fails when the file of the CA cannot be read, and names it", async () => {
    expect(await faultOf(proxyAt("", { caData: "", caFile: "/nowhere/ca.pem" })(ENDPOINT, form))).toEqual([
      { path: "AZURE_KUBERNETES_CA_FILE", problem: "/nowhere/ca.pem cannot be read" },
    ]);
  });

  test.each([
    ["no CA of the proxy", { caData: undefined }, /UNABLE_TO|SELF_SIGNED/],
    ["an empty CA", { caData: "" }, /UNABLE_TO|SELF_SIGNED/],
    ["no name of the proxy", { sniName: undefined }, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ["an empty name", { sniName: "" }, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ["another name", { sniName: "other.internal" }, /ERR_TLS_CERT_ALTNAME_INVALID/],
  ])("is not made with %s", async (_, options, label) => {
    const [fault] = await faultOf(proxyAt("", options)(ENDPOINT, form));
    expect(fault?.path).toBe("AZURE_KUBERNETES_TOKEN_PROXY");
    expect(fault?.problem).toMatch(new RegExp(`^${base} gave no answer \\((?:${label.source})`));
    expect(seen).toEqual([]);
  });

  test("takes an answer of 64 KiB, and no larger one", async () => {
    answer.bytes = 64 * 1024;
    expect((await proxyAt()(ENDPOINT, form)).text).toHaveLength(64 * 1024);
    answer.bytes += 1;
    expect(await faultOf(proxyAt()(ENDPOINT, form))).toEqual([
      { path: "AZURE_KUBERNETES_TOKEN_PROXY", problem: `${base} gave no answer (network)` },
    ]);
  });

  test("fails when the answer breaks off", async () => {
    answer.breaks = true;
    expect((await faultOf(proxyAt()(ENDPOINT, form)))[0]?.problem).toBe(
      `${base} gave no answer (ECONNRESET)`,
    );
  });

  test("is given up after its time", async () => {
    answer.silent = true;
    const began = performance.now();
    const [fault] = await faultOf(proxyAt("", { timeoutMs: 100 })(ENDPOINT, form));
    expect(fault?.problem).toBe(`${base} gave no answer (timeout)`);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

test("a token request has ten seconds unless that is set", async () => {
  const limits = jest.spyOn(AbortSignal, "timeout");
  try {
    await proxyAt()(ENDPOINT, form);
    await proxyAt("", { timeoutMs: 7_000 })(ENDPOINT, form);
    expect(limits.mock.calls).toEqual([[10_000], [7_000]]);
  } finally {
    limits.mockRestore();
  }
});

describe("the settings of the proxy", () => {
  test.each([
    ["proxy.example", "is not an https URL"],
    ["http://proxy.example", "is not an https URL"],
    ["https://proxy.example?x", "must hold neither query nor fragment nor user information"],
    ["https://proxy.example#", "must hold neither query nor fragment nor user information"],
    ["https://user@proxy.example", "must hold neither query nor fragment nor user information"],
    ["https://:password@proxy.example", "must hold neither query nor fragment nor user information"],
  ])("refuse the address %s", (url, problem) => {
    expect(() => createTokenProxy({ url, timeoutMs: 1 })).toThrow(
      expect.objectContaining({ faults: [{ path: "AZURE_KUBERNETES_TOKEN_PROXY", problem }] }),
    );
  });

  test("take one source of the CA", () => {
    expect(() => createTokenProxy({ url: base, timeoutMs: 1, caFile: "f", caData: "d" })).toThrow(
      expect.objectContaining({
        faults: [
          {
            path: "AZURE_KUBERNETES_CA_DATA",
            problem: "is set beside AZURE_KUBERNETES_CA_FILE; only one of them may be",
          },
        ],
      }),
    );
    expect(() => createTokenProxy({ url: base, timeoutMs: 1, caFile: "", caData: "" })).not.toThrow();
  });
});
