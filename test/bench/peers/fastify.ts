/** Fastify as a careful team would build it: jose for the token, reply-from to forward, a Map of delegated tokens. */

import { createServer } from "node:http";
import replyFrom from "@fastify/reply-from";
import Fastify from "fastify";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { createExchange } from "./msal.ts";
import { announce, settings } from "./peer.ts";

const { apiUrl, authorityHost, tenantId, clientId } = settings();
const keys = createRemoteJWKSet(new URL(`${authorityHost}${tenantId}/discovery/v2.0/keys`));
const exchange = createExchange();
const delegated = new Map<string, Promise<string>>();

const app = Fastify({
  serverFactory: (handler) => createServer(handler),
});
app.register(replyFrom, { base: apiUrl, undici: { connections: 1024 } });
app.get("/graph/me", async (request, reply) => {
  const token = request.headers.authorization?.slice("Bearer ".length) ?? "";
  await jwtVerify(token, keys, { issuer: `${authorityHost}${tenantId}/v2.0`, audience: clientId });
  let answer = delegated.get(token);
  if (answer === undefined) {
    answer = exchange(token);
    delegated.set(token, answer);
  }
  const downstreamToken = await answer;
  return reply.from("/me", {
    rewriteRequestHeaders: (_request, headers) => ({
      ...headers,
      authorization: `Bearer ${downstreamToken}`,
    }),
  });
});
await app.ready();
announce(app.server);
