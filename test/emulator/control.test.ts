import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Claims } from "./jws.ts";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

describe("the control port", () => {
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${client.emulator.controlUrl}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    return {
      status: response.status,
      body: response.status === 200 ? ((await response.json()) as Claims) : {},
    };
  };

  test("tells the facts, with files that exist", async () => {
    const { body } = await call("GET", "/facts");
    expect(body).toMatchObject({
      authorityHost: client.emulator.authorityHost,
      graphUrl: client.emulator.graphUrl,
      tenantId: client.emulator.tenantId,
      clientId: client.emulator.clientId,
    });
    expect(await readFile(String(body.caFile), "utf8")).toBe(client.emulator.caCertificate);
    expect(await readFile(String(body.clientCertificateFile), "utf8")).toBe(
      client.emulator.clientCertificate.pem,
    );
  });

  test("mints user tokens", async () => {
    const { body } = await call("POST", "/tokens", { user: "grace" });
    expect(aadsts(await client.exchange({ assertion: String(body.token) }))).toBe(0);
    expect((await call("POST", "/tokens", { user: "nobody" })).status).toBe(400);
  });

  test("sets and ends refusals, faults and requirements", async () => {
    await call("POST", "/refusals", { code: 65001 });
    expect(aadsts(await client.exchange())).toBe(65001);
    await call("DELETE", "/refusals");
    const { body: fault } = await call("POST", "/faults", { endpoint: "token", behaviour: { kind: "html" } });
    expect((await client.exchange()).status).toBe(502);
    expect((await call("DELETE", `/interventions/${fault.id}`)).status).toBe(204);
    expect((await call("DELETE", `/interventions/${fault.id}`)).status).toBe(404);
    await call("POST", "/users/ada/require-mfa", {});
    expect(aadsts(await client.exchange())).toBe(50076);
    await call("DELETE", "/refusals");
    expect(aadsts(await client.exchange())).toBe(0);
  });

  test("revokes sessions, rotates the federated token, rolls keys", async () => {
    const old = client.emulator.mintUserToken({ user: "ada" });
    await call("POST", "/users/ada/revoke-sessions");
    expect(aadsts(await client.exchange({ assertion: old }))).toBe(50173);
    const before = await readFile(client.emulator.files.federatedToken, "utf8");
    await call("POST", "/federated-token/rotate");
    expect(await readFile(client.emulator.files.federatedToken, "utf8")).not.toBe(before);
    const { body } = await call("POST", "/keys/roll");
    expect(body.activeKid).not.toBe(body.previousKid);
  });

  test("counts what arrived", async () => {
    await call("DELETE", "/requests");
    await client.exchange();
    expect((await call("GET", "/requests")).body).toMatchObject({
      counts: { token: 1 },
      token: [{ aadsts: 0 }],
    });
  });
});

describe("the emulator as a process", () => {
  const start = async (...flags: string[]) => {
    const main = fileURLToPath(new URL("main.ts", import.meta.url));
    const ports = ["authority", "graph", "kubernetes", "control"].flatMap((name) => [`--${name}-port`, "0"]);
    const child = spawn(process.execPath, ["--import", "tsx", main, "--json", ...ports, ...flags], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = once(child, "exit");
    const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    return { child, ended, facts: JSON.parse(line) as Record<string, string> };
  };

  test("prints its facts as one line, serves, and on SIGTERM ends without files", async () => {
    const { child, ended, facts } = await start();
    const response = await fetch(`${facts.controlUrl}/tokens`, { method: "POST" });
    expect(await response.json()).toEqual({ token: expect.stringMatching(/^eyJ/) });
    expect(existsSync(facts.caFile ?? "")).toBe(true);
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(existsSync(facts.caFile ?? "")).toBe(false);
  });

  test("ends with its parent when told so", async () => {
    const { child, ended, facts } = await start("--exit-with-parent");
    child.stdin.end();
    expect(await ended).toEqual([0, null]);
    expect(existsSync(facts.caFile ?? "")).toBe(false);
  });
});
