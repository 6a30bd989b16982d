/** An emulator with a still clock and a client that trusts its CA, for the emulator's own tests. */

import { createPrivateKey, randomUUID } from "node:crypto";
import { Agent, fetch, type RequestInit, type Response } from "undici";
import { type Emulator, type EmulatorOptions, startEmulator } from "./emulator.ts";
import type { ClientCertificate } from "./handle.ts";
import { type Claims, isObject, merged, signJws } from "./jws.ts";

export const OBO = "urn:ietf:params:oauth:grant-type:jwt-bearer";
export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
export const GRAPH_DEFAULT = "https://graph.microsoft.com/.default";
/** The still clock's reading: a second sharp, so that "expired by one second" is exact. */
export const NOON = Date.UTC(2026, 5, 1, 12);

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Claims;
}

type Headers = Response["headers"];

export interface Client {
  readonly emulator: Emulator;
  fetch(url: string, init?: RequestInit): Promise<Response>;
  getJson(url: string, headers?: Record<string, string>): Promise<Answer>;
  /** A form to the token endpoint; `undefined` leaves a parameter out. */
  postToken(
    form: Readonly<Record<string, string | undefined>>,
    options?: {
      readonly tenant?: string;
      readonly query?: string;
      readonly headers?: Record<string, string>;
    },
  ): Promise<Answer>;
  /** A complete on-behalf-of request for ada with the seeded certificate, and what to change in it. */
  exchange(
    form?: Readonly<Record<string, string | undefined>>,
    options?: Parameters<Client["postToken"]>[1],
  ): Promise<Answer>;
  /** A client assertion with the seeded certificate, as MSAL Node makes it. */
  clientAssertion(changes?: {
    readonly header?: Claims;
    readonly claims?: Claims;
    readonly certificate?: ClientCertificate;
  }): string;
  /** A delegated token for Graph. */
  graphToken(user: string, options?: { readonly capable?: boolean }): Promise<string>;
  close(): Promise<void>;
}

export async function startClient(options: EmulatorOptions = {}): Promise<Client> {
  const emulator = await startEmulator({ now: () => NOON, ...options });
  const agent = new Agent({ connect: { ca: emulator.caCertificate } });
  const request = (url: string, init: RequestInit = {}) => fetch(url, { ...init, dispatcher: agent });

  const client: Client = {
    emulator,
    fetch: request,
    async getJson(url, headers = {}) {
      return await read(await request(url, { headers, redirect: "manual" }));
    },
    async postToken(form, { tenant = emulator.tenantId, query = "", headers = {} } = {}) {
      const body = new URLSearchParams();
      for (const [name, value] of Object.entries(form)) if (value !== undefined) body.set(name, value);
      const url = `${emulator.authorityHost}${tenant}/oauth2/v2.0/token${query}`;
      return await read(await request(url, { method: "POST", body, headers }));
    },
    exchange(form = {}, postOptions) {
      const complete = {
        grant_type: OBO,
        requested_token_use: "on_behalf_of",
        client_id: emulator.clientId,
        scope: GRAPH_DEFAULT,
        client_assertion_type: ASSERTION_TYPE,
        ...form,
        ...("client_assertion" in form ? {} : { client_assertion: client.clientAssertion() }),
        ...("assertion" in form ? {} : { assertion: emulator.mintUserToken({ user: "ada" }) }),
      };
      return client.postToken(complete, postOptions);
    },
    clientAssertion({ header, claims, certificate = emulator.clientCertificate } = {}) {
      const seconds = Math.floor(emulator.now() / 1000);
      const thumbprint = Buffer.from(certificate.thumbprintSha256, "hex").toString("base64url");
      return signJws(
        merged({ alg: "PS256", typ: "JWT", "x5t#S256": thumbprint }, header),
        merged(
          {
            aud: `${emulator.authorityHost}${emulator.tenantId}/oauth2/v2.0/token`,
            iss: emulator.clientId,
            sub: emulator.clientId,
            jti: randomUUID(),
            iat: seconds,
            nbf: seconds,
            exp: seconds + 600,
          },
          claims,
        ),
        createPrivateKey(certificate.privateKeyPem),
      );
    },
    async graphToken(user, { capable = false } = {}) {
      const { body } = await client.exchange({
        assertion: emulator.mintUserToken({ user }),
        ...(capable ? { claims: JSON.stringify({ access_token: { xms_cc: { values: ["cp1"] } } }) } : {}),
      });
      return String(body.access_token);
    },
    async close() {
      await agent.destroy();
      await emulator.close();
    },
  };
  return client;
}

/** The AADSTS number of a refusal, 0 for a token. */
export function aadsts({ body }: Answer): unknown {
  return Array.isArray(body.error_codes) ? body.error_codes[0] : 0;
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = { text };
  }
  return {
    status: response.status,
    headers: response.headers,
    body: isObject(body) ? body : { value: body },
  };
}
