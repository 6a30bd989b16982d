/** A second middle tier: takes a delegated token for itself, exchanges it once more, and asks Graph as the same user. */

import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import type { Emulator } from "./handle.ts";
import { decodeJws, isSignedBy } from "./jws.ts";

export interface OrdersApi {
  /** `http://127.0.0.1:PORT/v1`; `GET /orders` needs the scope `orders.read`. */
  readonly url: string;
  /** Scopes for a caller's own exchange. */
  readonly scopes: readonly string[];
  close(): Promise<void>;
}

const GRAPH = "https://graph.microsoft.com";

/** Registers what the exchange needs: a secret for the API, and consent for its users to be read from Graph. */
export async function startOrdersApi(emulator: Emulator): Promise<OrdersApi> {
  const { clientId } = emulator.ordersApi;
  const secret = emulator.addClientSecret(clientId);
  emulator.grantConsent({ clientId, resource: GRAPH, scopes: ["User.Read"] });

  const server = http.createServer((request, response) => {
    answer(emulator, clientId, secret, request)
      .catch((error: unknown) => ({ status: 500, body: { error: String(error) } }))
      .then(({ status, body }) => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    scopes: [`api://${clientId}/orders.read`],
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: object;
}

async function answer(
  emulator: Emulator,
  clientId: string,
  secret: string,
  request: http.IncomingMessage,
): Promise<Answer> {
  if (request.url !== "/v1/orders") return { status: 404, body: { error: "not_found" } };
  const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
  const claims = delegatedClaims(emulator, clientId, token);
  if (claims === undefined) return { status: 401, body: { error: "invalid_token" } };

  const form = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
    requested_token_use: "on_behalf_of",
    client_id: clientId,
    client_secret: secret,
    assertion: token,
    scope: `${GRAPH}/User.Read`,
  });
  const endpoint = `${emulator.authorityHost}${String(claims.tid)}/oauth2/v2.0/token`;
  const exchanged = await fetchJson(emulator, endpoint, {}, form.toString());
  if (exchanged.status !== 200) return { status: 502, body: exchanged.body };
  const { access_token: next } = exchanged.body as { access_token: string };
  const me = await fetchJson(emulator, `${emulator.graphUrl}/me`, { authorization: `Bearer ${next}` });
  const { id, displayName } = me.body as { id?: string; displayName?: string };
  return {
    status: me.status,
    body: { orders: [{ id: "4711", buyer: displayName, buyerId: id }], calledBy: claims.azp },
  };
}

/** The claims of a token that Entra issued for this API on behalf of a user. */
function delegatedClaims(
  emulator: Emulator,
  clientId: string,
  token: string,
): Readonly<Record<string, unknown>> | undefined {
  const jws = decodeJws(token);
  if (jws === undefined || typeof jws.header.kid !== "string") return undefined;
  if (!isSignedBy(jws, emulator.publicKey(jws.header.kid), ["RS256"])) return undefined;
  const { aud, exp, scp } = jws.payload;
  const isForUs = aud === clientId || aud === `api://${clientId}`;
  const isAlive = typeof exp === "number" && emulator.now() < exp * 1000;
  return isForUs && isAlive && String(scp).split(" ").includes("orders.read") ? jws.payload : undefined;
}

async function fetchJson(
  { caCertificate: ca }: Emulator,
  url: string,
  headers: Record<string, string>,
  form?: string,
): Promise<Answer> {
  const more = form === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" };
  const request = https.request(url, {
    ca,
    agent: false,
    method: form === undefined ? "GET" : "POST",
    headers: { ...headers, ...more },
  });
  request.end(form);
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  for await (const chunk of response as AsyncIterable<Buffer>) text += chunk;
  return { status: response.statusCode ?? 0, body: JSON.parse(text) as object };
}
