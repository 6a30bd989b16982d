/** What the doctor finds of sign-in for MCP clients, beside a gateway that runs. */

import { randomBytes } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { freePort } from "../support/free-port.ts";
import { type McpGateway, startMcpGateway, startMcpServer, type TestMcpServer } from "../support/mcp.ts";
import { createPatient, type Patient } from "./support.ts";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
let patient: Patient;
beforeAll(async () => {
  [emulator, server] = await Promise.all([startEmulator(), startMcpServer()]);
  [gateway, patient] = await Promise.all([startMcpGateway({ emulator, server }), createPatient(emulator)]);
});
afterAll(async () => {
  await patient.close();
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
});

const KEYS = { TOKEN_CACHE_KEYS: randomBytes(32).toString("base64") };

const examine = (publicUrl: string, mcp = "", env: Readonly<Record<string, string>> = KEYS) =>
  patient.diagnose({
    env,
    yaml: [
      ["path: /graph", "path: /mcp\n    mcp: true"],
      [
        'allow: ["/me"]',
        `allow: ["/me"]\nhttp: { publicUrl: "${publicUrl}" }\nmcp: { clientId: ${emulator.publicClientId}, ${mcp} }`,
      ],
    ],
  });

test("beside a gateway with the same address, it finds the documents and the registration right", async () => {
  const report = await examine(gateway.publicUrl);
  expect(report).toMatchObject({ works: true, text: "" });
  expect(report.of("mcp-documents", "/mcp").finding).toBe(
    `a client of ${gateway.publicUrl}/mcp finds where to sign in`,
  );
  expect(report.of("mcp-registration", "http://localhost").outcome).toBe("ok");
});

test("without mcp it looks at none of it", async () => {
  const { verdicts } = await patient.diagnose();
  expect(verdicts.filter(({ check }) => check.startsWith("mcp"))).toEqual([]);
});

test("without keys that replicas share, it warns", async () => {
  const report = await examine(gateway.publicUrl, "", {});
  expect(report.of("mcp-keys")).toMatchObject({
    outcome: "warning",
    fix: expect.stringMatching(/openssl rand/),
  });
});

test("an address that does not answer is a warning, since the gateway may not run yet", async () => {
  const report = await examine(`http://127.0.0.1:${await freePort()}`);
  expect(report.of("mcp-documents")).toMatchObject({
    outcome: "warning",
    finding: expect.stringMatching(/cannot be read: the connection is refused$/),
    fix: expect.stringMatching(/--skip ports/),
  });
});

test("an address that differs in a slash is a fault", async () => {
  const report = await examine(`${gateway.publicUrl}/`);
  expect(report.of("mcp-documents")).toMatchObject({
    outcome: "fault",
    finding: expect.stringMatching(/names http.* as authorization server instead of/),
  });
});

describe("in front of another server", () => {
  async function behind(listener: RequestListener, look: (url: string) => Promise<void>): Promise<void> {
    const front = createServer(listener);
    await new Promise<void>((resolve) => {
      front.listen(0, "127.0.0.1", resolve);
    });
    try {
      await look(`http://127.0.0.1:${(front.address() as AddressInfo).port}`);
    } finally {
      front.closeAllConnections();
      front.close();
    }
  }

  test("documents that a proxy does not pass on are a fault", async () => {
    await behind(
      (_request, response) => response.writeHead(404).end(),
      async (url) => {
        expect((await examine(url)).of("mcp-documents")).toMatchObject({
          outcome: "fault",
          finding: expect.stringMatching(/answers 404/),
          fix: expect.stringMatching(/pass \/\.well-known\//),
        });
      },
    );
  });

  test("a document without the field for browsers is a warning", async () => {
    await behind(
      (_request, response) => response.writeHead(200, { "content-type": "application/json" }).end("{}"),
      async (url) => {
        expect((await examine(url)).of("mcp-documents")).toMatchObject({
          outcome: "warning",
          finding: expect.stringMatching(/access-control-allow-origin/),
        });
      },
    );
  });

  test("the document of another resource is a fault", async () => {
    await behind(
      (_request, response) =>
        response
          .writeHead(200, { "content-type": "application/json", "access-control-allow-origin": "*" })
          .end('{"resource":"https://elsewhere.example/mcp"}'),
      async (url) => {
        expect((await examine(url)).of("mcp-documents").finding).toMatch(
          /^resource is "https:\/\/elsewhere\.example\/mcp"/,
        );
      },
    );
  });
});

describe("the registration", () => {
  test("lacks a redirect URI: AADSTS50011", async () => {
    const report = await examine(gateway.publicUrl, 'redirectUris: ["https://agent.example/callback"]');
    expect(report.of("mcp-registration", "https://agent.example/callback")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(/^AADSTS50011: /),
      commands: [expect.stringMatching(/^az ad app show --id /)],
    });
  });

  test("is unknown to the tenant: AADSTS700016", async () => {
    const unknown = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1cff";
    const report = await patient.diagnose({
      env: KEYS,
      yaml: [
        ["path: /graph", "path: /mcp\n    mcp: true"],
        [
          'allow: ["/me"]',
          `allow: ["/me"]\nhttp: { publicUrl: "${gateway.publicUrl}" }\nmcp: { clientId: ${unknown} }`,
        ],
      ],
    });
    expect(report.of("mcp-registration")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(/^AADSTS700016: /),
    });
  });
});
