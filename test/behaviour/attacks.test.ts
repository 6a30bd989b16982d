/** The attack matrix of the identity room once more, from outside: bytes on a socket, status and exact challenge back. */

import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config/load.ts";
import { codeRoute } from "../../src/http/code-route.ts";
import { type RunningGateway, startGateway } from "../../src/start.ts";
import { ATTACKS, PUBLISHED, secretsOf, type Verdict } from "../identity/attacks.ts";
import { API, type FakeAuthority, startFakeAuthority, TENANT, USER } from "../identity/fake-authority.ts";

const YAML = `
identity: { verifier: "\${VERIFIER}", tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis: { graph: { baseUrl: "https://graph.microsoft.com/v1.0", scopes: [https://graph.microsoft.com/.default] } }
routes: [{ path: /graph, downstreamApi: graph, allow: ["/me"] }]
`;

const who = codeRoute({
  method: "get",
  path: "/api/who",
  policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
  uses: [],
  handler(request, response) {
    response.json({ oid: request.principal.objectId });
  },
});

interface Expected {
  readonly status: number;
  readonly challenge: string | undefined;
}

function expectedFor(verdict: Verdict): Expected {
  switch (verdict) {
    case "user":
      return { status: 200, challenge: undefined };
    case "app":
      return { status: 403, challenge: undefined };
    case "missing":
      return { status: 401, challenge: "Bearer" };
    default:
      return {
        status: 401,
        challenge: 'Bearer error="invalid_token", error_description="The access token was not accepted"',
      };
  }
}

let authority: FakeAuthority;
let directory: string;
beforeAll(async () => {
  [authority, directory] = await Promise.all([
    startFakeAuthority(PUBLISHED),
    mkdtemp(join(tmpdir(), "attacks-")),
  ]);
  await writeFile(join(directory, "gateway.yaml"), YAML);
});
afterAll(async () => {
  await authority.close();
  await rm(directory, { recursive: true });
});

describe.each(["passport-azure-ad", "jose"])("with %s", (verifier) => {
  let gateway: RunningGateway;
  let logged = "";
  beforeAll(async () => {
    const config = loadConfig({
      GATEWAY_CONFIG: join(directory, "gateway.yaml"),
      VERIFIER: verifier,
      AZURE_TENANT_ID: TENANT,
      AZURE_CLIENT_ID: API,
      AZURE_CLIENT_SECRET: "never sent in this test",
      PORT: "0",
      ADMIN_PORT: "0",
    });
    gateway = await startGateway(config, {
      fetch: authority.fetch,
      routes: [who],
      logSink: {
        write(line) {
          logged += line;
        },
      },
    });
  });
  afterAll(() => gateway.stop());

  test.each(ATTACKS.map((attack) => [attack.verdict, attack.sentence, attack] as const))(
    "%s: %s",
    async (verdict, _sentence, { authorization }) => {
      const answer = await send(gateway.port, authorization);
      const controls = authorization.some((value) => hasControls(value));
      if (authorization.join("").length > 32 * 1024) {
        expect(answer.status).toBe(431);
        return;
      }
      // What HTTP itself forbids in a field value (RFC 9110 §5.5) ends in the parser, before any of our code.
      if (controls && answer.status === 400) return;
      expect({ status: answer.status, challenge: answer.challenge }).toEqual(expectedFor(verdict));
      if (verdict === "user") expect(JSON.parse(answer.body)).toEqual({ oid: USER });
      for (const part of secretsOf(authorization)) expect(answer.body).not.toContain(part);
    },
  );

  test("nothing that was logged meanwhile holds any part of a token", () => {
    expect(logged).toContain('"code":"token_rejected"');
    for (const part of ATTACKS.flatMap(({ authorization }) => secretsOf(authorization)))
      expect(logged.includes(part)).toBe(false);
  });
});

afterAll(() => {
  process.stdout.write(`attack matrix over HTTP: ${ATTACKS.length} rows × 2 verifiers\n`);
});

async function send(
  port: number,
  authorization: readonly string[],
): Promise<{ status: number; challenge: string | undefined; body: string }> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const fields = authorization.map((value) => `Authorization: ${value}\r\n`).join("");
  socket.write(`GET /api/who HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n${fields}\r\n`, "latin1");
  let text = "";
  for await (const chunk of socket.setEncoding("latin1")) text += chunk;
  const [head = "", body = ""] = text.split("\r\n\r\n");
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]),
    challenge: /^www-authenticate: (.*)$/im.exec(head)?.[1],
    body,
  };
}

function hasControls(value: string): boolean {
  return [...value].some((character) => {
    const code = character.charCodeAt(0);
    return (code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff;
  });
}
