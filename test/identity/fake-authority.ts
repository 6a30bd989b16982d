/** An authority on a real local socket whose two documents can be made to misbehave, and the tokens that it signs. */

import { createSign, type KeyObject } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import { resolveAuthority } from "../../src/identity/authority.ts";
import { generateRsaPairSync } from "../emulator/rsa-keys.ts";

export const TENANT = "11111111-aaaa-4aaa-8aaa-111111111111";
export const OTHER_TENANT = "22222222-bbbb-4bbb-8bbb-222222222222";
export const API = "33333333-cccc-4ccc-8ccc-333333333333";
export const CLIENT = "44444444-dddd-4ddd-8ddd-444444444444";
export const USER = "55555555-eeee-4eee-8eee-555555555555";

export interface TestKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function generateKey(kid: string, modulusLength = 2048): TestKey {
  return { kid, ...generateRsaPairSync({ modulusLength }) };
}

export function jwkOf({ kid, publicKey }: TestKey, more: object = {}): object {
  return { ...publicKey.export({ format: "jwk" }), use: "sig", kid, x5t: kid, ...more };
}

export type Json = Record<string, unknown>;

/** Claims of an ordinary delegated v2 token. */
export function userClaims(more: Json = {}, nowSeconds = Math.floor(Date.now() / 1000)): Json {
  return {
    aud: API,
    iss: `https://login.microsoftonline.com/${TENANT}/v2.0`,
    iat: nowSeconds - 10,
    nbf: nowSeconds - 10,
    exp: nowSeconds + 3600,
    aio: "opaque",
    azp: CLIENT,
    azpacr: "0",
    name: "Canary Name",
    oid: USER,
    preferred_username: "canary@example.test",
    rh: "opaque",
    scp: "access_as_user",
    sub: "pairwise-subject",
    tid: TENANT,
    uti: "opaque",
    ver: "2.0",
    ...more,
  };
}

/** Claims of an ordinary delegated v1 token. */
export function v1Claims(more: Json = {}): Json {
  const { azp: _azp, azpacr: _azpacr, ...rest } = userClaims();
  return {
    ...rest,
    iss: `https://sts.windows.net/${TENANT}/`,
    appid: CLIENT,
    appidacr: "0",
    ver: "1.0",
    ...more,
  };
}

export function encode(value: unknown): string {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
}

/** `header` and `claims` may be raw JSON text, to say what an object cannot: duplicates, bad numbers, no JSON at all. */
export function sign(key: TestKey, claims: unknown, header: unknown = {}): string {
  const fullHeader =
    typeof header === "object" && header !== null && !Array.isArray(header)
      ? { typ: "JWT", alg: "RS256", kid: key.kid, ...header }
      : header;
  const input = `${encode(fullHeader)}.${encode(claims)}`;
  return `${input}.${createSign("RSA-SHA256").update(input).sign(key.privateKey, "base64url")}`;
}

type Responder = (request: IncomingMessage, response: ServerResponse) => void;

export interface FakeAuthority {
  /** Sends every https request to this server, whatever its host, as a resolver in front of it would. */
  readonly fetch: Fetch;
  /** Published keys, as JWK. */
  keys: unknown[];
  /** Members added to the metadata document, or taken away where undefined. */
  metadata: Json;
  /** Status of honest answers, where it is not 200. */
  status: { metadata?: number | undefined; keys?: number | undefined };
  /** In place of an honest answer. */
  respond: { metadata?: Responder | undefined; keys?: Responder | undefined };
  /** Origin to which requests for a document go instead of to this server. */
  divert: { metadata?: string | undefined; keys?: string | undefined };
  readonly port: number;
  /** Requests that arrived, as `host/path`. */
  readonly requests: string[];
  close(): Promise<void>;
}

export async function startFakeAuthority(keys: unknown[]): Promise<FakeAuthority> {
  const server = createServer((request, response) => {
    const host = String(request.headers["x-original-host"]);
    const path = request.url ?? "";
    authority.requests.push(host + path);
    if (path.endsWith("/keys")) (authority.respond.keys ?? honestKeys)(request, response);
    else (authority.respond.metadata ?? honestMetadata)(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;

  const honestKeys: Responder = (_request, response) =>
    sendJson(response, { keys: authority.keys }, authority.status.keys);
  const honestMetadata: Responder = (request, response) => {
    const origin = `https://${request.headers["x-original-host"]}`;
    const [, tenant = "", v2] = (request.url ?? "").split("/");
    const { issuer, cloudInstanceName } = {
      issuer: resolveAuthority(origin).issuer(
        tenant === "common" ? "{tenantid}" : tenant,
        v2 === "v2.0" ? "2.0" : "1.0",
      ),
      cloudInstanceName: resolveAuthority(origin).cloudInstanceName,
    };
    sendJson(
      response,
      {
        issuer,
        jwks_uri: `${origin}/${tenant}/discovery/keys`,
        cloud_instance_name: cloudInstanceName,
        id_token_signing_alg_values_supported: ["RS256"],
        ...authority.metadata,
      },
      authority.status.metadata,
    );
  };

  const authority: FakeAuthority = {
    keys,
    metadata: {},
    status: {},
    respond: {},
    divert: {},
    port,
    requests: [],
    fetch: (input, init) => {
      const url = new URL(input);
      const document = url.pathname.endsWith("/keys") ? "keys" : "metadata";
      return fetch((authority.divert[document] ?? `http://127.0.0.1:${port}`) + url.pathname + url.search, {
        ...init,
        headers: { ...(init?.headers as Record<string, string>), "x-original-host": url.host },
      });
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return authority;
}

export function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

export function bearer(token: string): readonly string[] {
  return [`Bearer ${token}`];
}
