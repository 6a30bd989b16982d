import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Claims } from "./jws.ts";
import { deviceRequest, pageRequest, personAt, redeemAtPage } from "./sign-in-requests.ts";
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
      body: [200, 400].includes(response.status) ? ((await response.json()) as Claims) : {},
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

  test("signs people in under its control: consent, redirect URIs, password, sign-in frequency", async () => {
    const { publicClientId, frontEndClientId } = client.emulator;
    const uri = "http://127.0.0.1:5173/";
    expect(
      (await call("POST", `/applications/${frontEndClientId}/redirect-uris`, { uri, type: "spa" })).status,
    ).toBe(204);
    const { url, redeem } = pageRequest(client.emulator, { redirect_uri: uri });
    const person = personAt(client);
    const { answer } = await person.signIn(url, { user: "grace" });
    expect(aadsts(await redeemAtPage(client, { ...redeem, code: answer.code }))).toBe(0);

    const { body: policy } = await call("POST", "/users/grace/sign-in-frequency", { seconds: 0 });
    const silent = () => person.open(pageRequest(client.emulator, { prompt: "none" }).url);
    expect((await silent()).answer.error).toBe("login_required");
    await call("DELETE", `/interventions/${policy.id}`);
    expect((await silent()).answer.code).toBeDefined();
    await call("POST", "/users/grace/change-password", { by: "user" });
    expect((await silent()).answer.error).toBe("login_required");

    await call("POST", "/consent/users", { allowed: false });
    const asked = deviceRequest(client.emulator, {
      client_id: publicClientId,
      scope: "https://graph.microsoft.com/Calendars.Read",
    });
    expect((await personAt(client).signIn(asked.url, { user: "grace" })).pages.at(-1)?.title).toBe(
      "Approval required",
    );
    await call("POST", "/consent/users", { allowed: true });
  });

  test("says which permissions a call to Graph accepts, and switches their check", async () => {
    const path = encodeURIComponent("/me/manager");
    expect((await call("GET", `/graph/permissions?method=GET&path=${path}`)).body).toEqual({
      accepted: ["User.Read.All", "Directory.Read.All"],
    });
    expect((await call("GET", "/graph/permissions?path=/nowhere")).body).toEqual({ accepted: null });
    expect((await call("POST", "/graph/permissions", { enforced: false })).status).toBe(204);
    await call("POST", "/graph/permissions", { enforced: true });
  });

  test.each<[string, unknown, RegExp]>([
    [
      "/federated-token/break",
      { defect: "empti" },
      /^'defect' must be one of missing, empty, half-written; not "empti"$/,
    ],
    ["/federated-token/break", {}, /^'defect' is missing$/],
    ["/federated-token/break", { defekt: "empty" }, /^unknown option 'defekt'; known: defect$/],
    [
      "/federated-token/rotate",
      { subject: "x" },
      /^unknown option 'subject'; known: namespace, serviceAccount, audience/,
    ],
    ["/refusals", { code: 50077 }, /^unknown code 50077; name its 'error' as well, or use one of .*65001/],
    ["/refusals", { code: "50076" }, /^'code' must be a number$/],
    ["/refusals", { code: 50076, grant: "obo" }, /^'grant' must be one of on-behalf-of, client-credentials/],
    ["/refusals", { code: 50076, claims: false }, /^'claims' must be text; or: 'claims' must be true$/],
    ["/refusals", {}, /^'code' is missing$/],
    [
      "/faults",
      { endpoint: "tokens", behaviour: { kind: "html" } },
      /^'endpoint' must be one of token, authorize/,
    ],
    [
      "/faults",
      { endpoint: "token", behaviour: { kind: "explode" } },
      /^'kind' must be one of json, text, html/,
    ],
    ["/faults", { endpoint: "token", behaviour: { kind: "json" } }, /^'status' is missing$/],
    [
      "/faults",
      { endpoint: "token", behaviour: { kind: "html", code: 1 } },
      /^unknown option 'code'; known: status$/,
    ],
    [
      "/faults",
      { endpoint: "token", behaviour: { kind: "hold", ms: 1 } },
      /^unknown option 'ms'; known: none$/,
    ],
    ["/faults", { endpoint: "token", behaviour: "html" }, /^'behaviour' must be an object$/],
    ["/faults", { endpoint: "token" }, /^'behaviour' is missing$/],
    [
      "/faults",
      { endpoint: "token", behaviour: { kind: "html" }, match: { url: "x" } },
      /^unknown option 'url'; known: tenantId, path, method$/,
    ],
    ["/tokens", { username: "ada" }, /^unknown option 'username'; known: user, tenantId/],
    ["/tokens", { scopes: "access_as_user" }, /^'scopes' must be a list of texts$/],
    ["/tokens", { user: "who" }, /knows no user who$/],
    ["/tokens", ["ada"], /^'the body' must be an object$/],
    ["/tokens", { constructor: 1 }, /^unknown option 'constructor'/],
    ["/users/who/require-mfa", {}, /knows no user who$/],
    [
      "/users/ada/require-mfa",
      { context: "c1" },
      /^unknown option 'context'; known: authContext, spelling, atSignIn$/,
    ],
    ["/users/ada/revoke-sessions", { all: true }, /^unknown option 'all'; known: none$/],
    ["/users/ada/change-password", { by: "nobody" }, /^'by' must be one of user, administrator/],
    ["/users/ada/sign-in-frequency", {}, /^'seconds' is missing$/],
    [
      "/users/ada/graph-challenge",
      { satisfiedBy: "all" },
      /^'satisfiedBy' must be one of new-token, nothing/,
    ],
    ["/graph/throttle", { retryAfter: "1" }, /^'retryAfter' must be a number$/],
    ["/graph/permissions", { enforced: "yes" }, /^'enforced' must be true or false$/],
    ["/consent/grant", { user: "ada" }, /^'scopes' is missing$/],
    [
      "/consent/grant",
      { scopes: ["x"], resource: "https://nowhere" },
      /knows no resource https:\/\/nowhere$/,
    ],
    ["/consent/revoke", { scopes: [] }, /^unknown option 'scopes'; known: clientId, tenantId, resource$/],
    ["/consent/users", {}, /^'allowed' is missing$/],
    ["/consent/users", { allowed: true, tenantId: "none" }, /knows no tenant none$/],
    ["/consent/revoke", { clientId: "none" }, /knows no application none$/],
    ["/consent/grant", { clientId: "none", scopes: [] }, /knows no application none$/],
    [
      "/applications/b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c02/redirect-uris",
      { uri: "x", type: "spa" },
      /^no absolute URI: x$/,
    ],
    [
      "/applications/none/redirect-uris",
      { uri: "http://localhost", type: "spa" },
      /knows no application none$/,
    ],
    [
      "/applications/none/redirect-uris",
      { uri: "x", type: "native" },
      /^'type' must be one of spa, web, public/,
    ],
    ["/keys/roll", { published: true }, /^unknown option 'published'; known: publish$/],
    ["/clock/advance", { seconds: 1 }, /^unknown option 'seconds'; known: ms$/],
    ["/clock/advance", {}, /^'ms' is missing$/],
    ["/client-certificate/rotate", { force: true }, /^unknown option 'force'; known: none$/],
  ])("refuses %s with %j in a sentence that names the choices", async (path, body, sentence) => {
    const answer = await call("POST", path, body);
    expect([answer.status, answer.body.error]).toEqual([400, expect.stringMatching(sentence)]);
    expect((await client.exchange()).status).toBe(200);
  });

  test("refuses a body that is no JSON", async () => {
    const response = await fetch(`${client.emulator.controlUrl}/faults`, {
      method: "POST",
      body: "{",
      headers: { "content-type": "application/json" },
    });
    expect(response.status).toBe(400);
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
