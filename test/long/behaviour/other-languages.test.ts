/** Programs in other languages, and clients of other makers, that get their tokens from the local API. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AccessToken, TokenCredential } from "@azure/core-auth";
import {
  bearerTokenAuthenticationPolicy,
  createDefaultHttpClient,
  createEmptyPipeline,
  createPipelineRequest,
  tlsPolicy,
} from "@azure/core-rest-pipeline";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { claimsOf, LOCAL_YAML } from "../../local/support.ts";
import { describeWith } from "../../support/describe-with.ts";
import { programAt } from "../../support/front.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

const examples = fileURLToPath(new URL("../../../examples", import.meta.url));
// A python3 of one's own may stand before the system's, which is the one that has the Debian package.
const python = ["python3", "/usr/bin/python3"].find(
  (command) => spawnSync(command, ["-c", "import requests"], { timeout: 20_000 }).status === 0,
);
const go = programAt("go");

let emulator: Emulator;
let gateway: TestGateway;
let directory: string;
let api: Server;
let apiUrl: string;

beforeAll(async () => {
  emulator = await startEmulator();
  directory = await mkdtemp(join(tmpdir(), "languages-"));
  gateway = await startTestGateway({
    emulator,
    yaml: LOCAL_YAML.replace("graph: {}", "graph: { applicationTokens: true }"),
    env: { LOCAL_PORT: "0" },
  });
  // An API without TLS, so that no client needs to trust the emulator's CA: it answers whose token it was shown.
  api = createServer((request, response) => {
    const { oid, idtyp } = claimsOf(request.headers.authorization?.replace("Bearer ", "") ?? "");
    response.setHeader("content-type", "application/json").end(JSON.stringify({ oid, idtyp }));
  }).listen(0, "127.0.0.1");
  await once(api, "listening");
  apiUrl = `http://127.0.0.1:${(api.address() as AddressInfo).port}/me`;
});
afterAll(async () => {
  api.close();
  api.closeAllConnections();
  await gateway.stop();
  await emulator.close();
  await rm(directory, { recursive: true });
});
afterEach(() => emulator.clearRefusals());

/** A program's answer to a token on its standard input. */
async function run(command: string, args: readonly string[], token: string, cwd: string) {
  const child = spawn(command, args, {
    cwd,
    env: {
      PATH: process.env.PATH ?? "",
      HOME: directory,
      GOCACHE: join(directory, "go-cache"),
      PYTHONDONTWRITEBYTECODE: "1",
      // Neither may come between two programs of one machine.
      HTTP_PROXY: "http://127.0.0.1:1",
      NO_PROXY: new URL(apiUrl).hostname,
      OBO_GATEWAY_URL: gateway.localUrl,
    },
    stdio: ["pipe", "pipe", "pipe"],
    timeout: 60_000,
  });
  let output = "";
  let complaint = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  child.stdin.end(token);
  const [code] = await once(child, "close");
  if (output === "") throw new Error(`${command} ended with ${code}: ${complaint}`);
  return { code, answer: JSON.parse(output) };
}

/** What a client in any language has to get right. */
function clientTests(call: (token: string) => ReturnType<typeof run>): void {
  test("calls an API as its user", async () => {
    const user = emulator.addUser();
    expect(await call(emulator.mintUserToken({ user }))).toEqual({
      code: 0,
      answer: { status: 200, content: { oid: user.objectId } },
    });
  });

  test("gets a refusal whole: status, code, challenge, claims", async () => {
    const user = emulator.addUser();
    emulator.refuse({ code: 50076, claims: true, user });
    const { code, answer } = await call(emulator.mintUserToken({ user, capabilities: ["cp1"] }));
    expect([code, answer]).toEqual([
      1,
      {
        status: 401,
        code: "claims_challenged",
        challenge: expect.stringContaining('error="insufficient_claims"'),
        claims: expect.stringContaining("access_token"),
      },
    ]);
  });
}

describeWith("python3 with requests", "the client in Python", python !== undefined, () => {
  clientTests((token) => run(python ?? "", ["me.py", "graph", apiUrl], token, join(examples, "python")));
});

describeWith("go", "the client in Go", go !== undefined, () => {
  let program: string;
  beforeAll(async () => {
    program = join(directory, "obo");
    const built = spawnSync(go ?? "", ["build", "-o", program, "."], {
      cwd: join(examples, "go"),
      encoding: "utf8",
      env: {
        PATH: process.env.PATH ?? "",
        HOME: directory,
        GOCACHE: join(directory, "go-cache"),
        GOFLAGS: "-mod=mod",
        GOPROXY: "off",
      },
    });
    expect(built.stderr).toBe("");
  }, 120_000);
  clientTests((token) => run(program, ["graph", apiUrl], token, directory));
});

describe("the sidecar provider of @microsoft/agents-hosting, as it is", () => {
  /** In a process of its own: the package is CommonJS that requires modules, which jest cannot load. */
  async function provider(...args: readonly string[]): Promise<{ value?: unknown; error?: string }> {
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL("../../local/agents-client.mjs", import.meta.url)), ...args],
      {
        env: { PATH: process.env.PATH ?? "", HOME: directory, SIDECAR_URL: gateway.localUrl },
        stdio: ["ignore", "pipe", "inherit"],
        timeout: 30_000,
      },
    );
    let output = "";
    child.stdout.on("data", (chunk) => {
      output += chunk;
    });
    await once(child, "close");
    // Its own log lines, where it writes any, come before.
    return JSON.parse(output.trim().split("\n").at(-1) ?? "");
  }

  test("finds the gateway healthy", async () => {
    expect(await provider("graph", "isHealthy")).toEqual({ value: true });
  });

  test("gets the application's own token", async () => {
    const { value } = await provider("daemon", "getAccessToken", "https://graph.microsoft.com/.default");
    expect(claimsOf(String(value))).toMatchObject({ idtyp: "app", appid: emulator.clientId });
  });

  test("learns of a refusal by its real status", async () => {
    const refused = await provider("narrow", "getAccessToken", "https://graph.microsoft.com/.default");
    expect(refused.error).toContain("403");
    expect((await provider("nobody", "getAccessToken", "x")).error).toContain("404");
  });

  test("gets no token of another identity, which this gateway does not have", async () => {
    const agentic = await provider("daemon", "getAgenticInstanceToken", emulator.tenantId, "an-agent");
    expect(agentic.error).toContain("400");
  });
});

describe("a client of the Azure SDKs", () => {
  /** `TokenCredential` over the token endpoint: all that such a program needs. */
  function localCredential(target: string, userToken: string): TokenCredential {
    return {
      async getToken(_scopes, { claims, abortSignal } = {}): Promise<AccessToken> {
        const answer = await fetch(`${gateway.localUrl}/api/v1/token/exchange`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({
            identity_provider: "entra_id",
            target,
            user_token: userToken,
            ...(claims !== undefined && { claims }),
          }),
          ...(abortSignal !== undefined && { signal: abortSignal as AbortSignal }),
        });
        const body = (await answer.json()) as Record<string, string | number>;
        if (!answer.ok) throw Object.assign(new Error(String(body.error_description)), { code: body.error });
        return {
          token: String(body.access_token),
          expiresOnTimestamp: Date.now() + Number(body.expires_in) * 1_000,
        };
      },
    };
  }

  test("calls an API as its user through the token endpoint", async () => {
    const user = emulator.addUser();
    const credential = localCredential("graph", emulator.mintUserToken({ user }));
    const pipeline = createEmptyPipeline();
    const scopes = "https://graph.microsoft.com/.default";
    pipeline.addPolicy(bearerTokenAuthenticationPolicy({ credential, scopes }));
    pipeline.addPolicy(tlsPolicy({ ca: emulator.caCertificate }));
    const answer = await pipeline.sendRequest(
      createDefaultHttpClient(),
      createPipelineRequest({ url: `${emulator.graphUrl}/me` }),
    );
    expect([answer.status, JSON.parse(answer.bodyAsText ?? "{}").id]).toEqual([200, user.objectId]);
  });

  test("is told why it gets none", async () => {
    const user = emulator.addUser();
    emulator.refuse({ code: 65001, user });
    const credential = localCredential("graph", emulator.mintUserToken({ user }));
    await expect(credential.getToken("x")).rejects.toMatchObject({ code: "consent_required" });
  });
});
