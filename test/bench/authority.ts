/** An authority as thin as TLS allows: publishes one key, answers every token request after a set time, verifies nothing. */

import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { promisify } from "node:util";
import { createCertificateAuthority } from "../emulator/certificate-authority.ts";

const TENANT = "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01";
const CLIENT = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01";
const FRONT_END = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c02";
const KEY_ID = "bench";
const LIFE_SECONDS = 3_600;
/** Length of the tokens for Graph, like that of the callers' own. */
const TOKEN_BYTES = 1_900;
const REFRESH_BYTES = 1_200;
const FILLING = "abcdefghijklmnopqrstuvwxyz012345";

const signAsync = promisify(sign);

export interface Authority {
  /** `https://localhost:PORT/`. */
  readonly authorityHost: string;
  readonly tenantId: string;
  readonly clientId: string;
  readonly files: { readonly caCertificate: string; readonly clientCertificate: string };
  readonly caCertificate: string;
  /** Token requests are answered after so many ms. */
  answerAfter(ms: number): void;
  /** What each token request took here since the last call, ms, from its last byte to the end of its answer. */
  takeDurations(): number[];
  /** Access tokens of so many new users, about 1.9 KB each; of fewer where they cannot be signed in so many ms. */
  mint(users: number, limitMs?: number): Promise<string[]>;
  close(): void;
}

export async function startAuthority(): Promise<Authority> {
  const certificates = createCertificateAuthority(Date.now);
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const directory = mkdtempSync(join(tmpdir(), "obo-bench-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove);
  const files = {
    caCertificate: join(directory, "ca.pem"),
    clientCertificate: join(directory, "client.pem"),
  };
  writeFileSync(files.caCertificate, certificates.certificatePem);
  writeFileSync(files.clientCertificate, (await certificates.issueClientCertificate()).pem, { mode: 0o600 });

  let delayMs = 0;
  let durations: number[] = [];
  let tokens = 0;
  const server = createServer(
    certificates.issueServerCertificate(["localhost"]),
    async (request, response) => {
      if (request.method === "GET") {
        json(response, request.url?.includes("/keys") ? keySet : metadata);
        return;
      }
      const form = await textOf(request);
      const arrivedAt = performance.now();
      response.once("finish", () => durations.push(performance.now() - arrivedAt));
      const answer = () => json(response, grant(form, tokens++));
      if (delayMs === 0) answer();
      else setTimeout(answer, delayMs);
    },
  );
  server.keepAliveTimeout = 120_000;
  server.listen(0, "127.0.0.1", 4_096);
  await once(server, "listening");
  const authorityHost = `https://localhost:${(server.address() as AddressInfo).port}/`;
  const base = `${authorityHost}${TENANT}`;
  const keySet = { keys: [{ ...publicKey.export({ format: "jwk" }), use: "sig", kid: KEY_ID, x5t: KEY_ID }] };
  const metadata = {
    issuer: `${base}/v2.0`,
    jwks_uri: `${base}/discovery/v2.0/keys`,
    token_endpoint: `${base}/oauth2/v2.0/token`,
    authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
    end_session_endpoint: `${base}/oauth2/v2.0/logout`,
    id_token_signing_alg_values_supported: ["RS256"],
    response_types_supported: ["code"],
    subject_types_supported: ["pairwise"],
  };

  async function mintOne(): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      aud: CLIENT,
      iss: `${base}/v2.0`,
      iat: now,
      nbf: now,
      exp: now + LIFE_SECONDS,
      azp: FRONT_END,
      azpacr: "0",
      name: "Bench User",
      oid: randomUUID(),
      preferred_username: "user@home.example",
      roles: ["Reader"],
      // As many groups as make a token of the usual length.
      groups: Array.from({ length: 15 }, (_, n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`),
      scp: "access_as_user",
      sub: randomUUID(),
      tid: TENANT,
      uti: randomUUID(),
      ver: "2.0",
    };
    const input = `${encode({ typ: "JWT", alg: "RS256", kid: KEY_ID })}.${encode(claims)}`;
    // In the thread pool, so that minting uses every core that this process may use.
    const signature = await signAsync("sha256", Buffer.from(input), privateKey);
    return `${input}.${signature.toString("base64url")}`;
  }

  return {
    authorityHost,
    tenantId: TENANT,
    clientId: CLIENT,
    files,
    caCertificate: certificates.certificatePem,
    answerAfter(ms) {
      delayMs = ms;
    },
    takeDurations() {
      const taken = durations;
      durations = [];
      return taken;
    },
    async mint(users, limitMs = Number.POSITIVE_INFINITY) {
      const minted: string[] = [];
      const deadline = performance.now() + limitMs;
      while (minted.length < users && performance.now() < deadline) {
        const length = Math.min(256, users - minted.length);
        minted.push(...(await Promise.all(Array.from({ length }, mintOne))));
      }
      return minted;
    },
    close() {
      server.close();
      server.closeAllConnections();
      remove();
    },
  };
}

/** With everything that Entra adds when asked as MSAL asks: those who keep MSAL's own cache pay for it in every hit. */
function grant(form: string, serial: number): object {
  const parameters = new URLSearchParams(form);
  const scopes = parameters.get("scope") ?? "";
  // The gateway tries its credential once at its start, for itself.
  if (parameters.get("grant_type") === "client_credentials")
    return { token_type: "Bearer", expires_in: LIFE_SECONDS, access_token: FILLING };
  const claims = parameters.get("assertion")?.split(".")[1] ?? "";
  const user = JSON.parse(Buffer.from(claims, "base64url").toString()) as { oid: string; sub: string };
  const idClaims = { ...user, aud: CLIENT, groups: undefined, roles: undefined, scp: undefined };
  return {
    token_type: "Bearer",
    scope: "https://graph.microsoft.com/User.Read",
    expires_in: LIFE_SECONDS,
    ext_expires_in: LIFE_SECONDS,
    access_token: `${serial}.`.padEnd(TOKEN_BYTES, FILLING),
    ...(scopes.includes("offline_access") && {
      refresh_token: `1.${serial}.`.padEnd(REFRESH_BYTES, FILLING),
    }),
    ...(scopes.includes("openid") && {
      id_token: [encode({ typ: "JWT", alg: "RS256", kid: KEY_ID }), encode(idClaims), FILLING].join("."),
    }),
    ...(parameters.get("client_info") === "1" && { client_info: encode({ uid: user.oid, utid: TENANT }) }),
  };
}

function json(response: ServerResponse, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
