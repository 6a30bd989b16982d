/** The emulator is not shaped to MSAL Node: Microsoft's client in another language gets the same answers from it. */

import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { text as textOf } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { gatewayScope, personAt } from "./sign-in-requests.ts";
import { type Client, GRAPH_DEFAULT, startClient } from "./support.ts";

// A python3 of one's own may stand before the system's, which is the one that has the Debian package.
const python = ["python3", "/usr/bin/python3"].find(
  (command) => spawnSync(command, ["-c", "import msal"], { timeout: 20_000 }).status === 0,
);
const missing = python === undefined && process.env.CI !== "true";
if (missing)
  process.stderr.write("left out: MSAL Python against the emulator (no python3 here can import msal)\n");

interface Check {
  readonly credential: unknown;
  readonly scopes: readonly string[];
  readonly assertion?: string;
  readonly tenantId?: string;
}

let client: Client;
beforeAll(async () => {
  // MSAL makes its assertions by the machine's clock.
  client = await startClient({ now: Date.now });
});
afterAll(() => client.close());

/** A process of its own, while the emulator answers from this one. */
function startPython() {
  if (python === undefined) throw new Error("no python3 here can import msal; install python3-msal");
  const { files } = client.emulator;
  return spawn(python, [fileURLToPath(new URL("./msal_python.py", import.meta.url))], {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: 30_000,
    // Stronger than any setting in the program where the machine has a bundle or a proxy of its own.
    env: { ...process.env, REQUESTS_CA_BUNDLE: files.caCertificate, NO_PROXY: "localhost" },
  });
}

async function acquire(check: Check): Promise<Record<string, unknown>> {
  const child = startPython();
  const { clientId, tenantId, authorityHost } = client.emulator;
  child.stdin.end(JSON.stringify({ facts: { clientId, tenantId, authorityHost }, checks: [check] }));
  const [output] = await Promise.all([textOf(child.stdout), ended(child)]);
  return JSON.parse(output)[0];
}

async function ended(child: ReturnType<typeof startPython>): Promise<void> {
  const [errors, status] = await Promise.all([
    textOf(child.stderr),
    new Promise((resolve) => child.once("close", resolve)),
  ]);
  if (status !== 0) throw new Error(`MSAL Python ended with ${status}: ${errors}`);
}

(missing ? describe.skip : describe)("MSAL Python exchanges against the emulator", () => {
  const credentials: Readonly<Record<string, () => unknown>> = {
    certificate: () => ({
      private_key: client.emulator.clientCertificate.privateKeyPem,
      thumbprint: client.emulator.clientCertificate.thumbprintSha1,
    }),
    chain: () => ({
      private_key: client.emulator.clientCertificate.privateKeyPem,
      thumbprint: client.emulator.clientCertificate.thumbprintSha1,
      public_certificate:
        client.emulator.clientCertificate.certificatePem + client.emulator.clientCertificate.chainPem,
    }),
    federated: () => ({ client_assertion: readFileSync(client.emulator.files.federatedToken, "utf8") }),
    secret: () => client.emulator.addClientSecret(client.emulator.clientId),
  };
  const credential = (name: string) => credentials[name]?.();

  test.each([
    ["a certificate", "certificate", "certificate"],
    ["a certificate with its chain", "chain", "certificate"],
    ["a federated token", "federated", "federated"],
    ["a secret", "secret", "secret-in-body"],
  ])("with %s", async (_, name, seen) => {
    const answer = await acquire({
      credential: credential(name),
      scopes: [GRAPH_DEFAULT],
      assertion: client.emulator.mintUserToken({ user: "ada" }),
    });
    expect(answer).toMatchObject({
      token_type: "Bearer",
      access_token: expect.stringMatching(/^eyJ/),
      id_token_claims: { oid: client.emulator.users.ada.objectId },
    });
    expect(client.emulator.requests.token.at(-1)).toMatchObject({
      credential: seen,
      userObjectId: client.emulator.users.ada.objectId,
      aadsts: 0,
    });
  });

  test("with a token of another tenant", async () => {
    const { secondTenant, users } = client.emulator;
    const answer = await acquire({
      credential: credential("certificate"),
      scopes: [GRAPH_DEFAULT],
      assertion: client.emulator.mintUserToken({ user: "linus" }),
      tenantId: secondTenant.id,
    });
    expect(answer).toMatchObject({ id_token_claims: { oid: users.linus.objectId, tid: secondTenant.id } });
  });

  test("and gets a token of the application itself", async () => {
    const answer = await acquire({ credential: credential("federated"), scopes: [GRAPH_DEFAULT] });
    expect(answer).toMatchObject({ access_token: expect.stringMatching(/^eyJ/) });
    expect(client.emulator.requests.token.at(-1)).toMatchObject({ grantType: "client_credentials" });
  });

  test("and sees the claims of a multi-factor refusal", async () => {
    const requirement = client.emulator.requireMfa("grace");
    const answer = await acquire({
      credential: credential("secret"),
      scopes: [GRAPH_DEFAULT],
      assertion: client.emulator.mintUserToken({ user: "grace" }),
    });
    requirement.remove();
    expect(answer).toMatchObject({
      error: "interaction_required",
      claims: expect.stringContaining("capolids"),
    });
  });

  test("and sees why its certificate is refused", async () => {
    const stranger = await client.emulator.issueClientCertificate();
    const answer = await acquire({
      credential: { private_key: stranger.privateKeyPem, thumbprint: stranger.thumbprintSha1 },
      scopes: [GRAPH_DEFAULT],
      assertion: client.emulator.mintUserToken({ user: "ada" }),
    });
    expect(answer).toMatchObject({ error: "invalid_client", error_codes: [700027] });
  });

  test("signs a user in by code and PKCE, renews by refresh token, and hears of a challenge", async () => {
    const { publicClientId, tenantId, authorityHost } = client.emulator;
    const child = startPython();
    const finished = ended(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const facts = { publicClientId, tenantId, authorityHost, scope: gatewayScope(client.emulator) };
    child.stdin.write(`${JSON.stringify({ facts, sign_in: true })}\n`);
    const { url } = JSON.parse(String((await lines.next()).value));
    const { answer } = await personAt(client).signIn(url, { user: "ada" });
    child.stdin.end(`${JSON.stringify(answer)}\n`);
    const result = JSON.parse(String((await lines.next()).value));
    await finished;
    expect(result).toMatchObject({
      signed_in: { id_token_claims: { oid: client.emulator.users.ada.objectId }, token_type: "Bearer" },
      renewed: { token_type: "Bearer", access_token: expect.stringMatching(/^eyJ/) },
      challenged: { error: "interaction_required", error_codes: [50076] },
    });
    expect(result.renewed.access_token).not.toBe(result.signed_in.access_token);
    expect(client.emulator.requests.authorize[0]).toMatchObject({ challengeMethod: "S256" });
  });
});
