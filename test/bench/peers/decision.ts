/** A decision for nginx's auth_request as a team would write it with Microsoft's libraries: passport-azure-ad and one MSAL client. */

import { createServer } from "node:http";
import { createRequire } from "node:module";
import express from "express";
import passport from "passport";
import { createExchange } from "./msal.ts";
import { announce, settings } from "./peer.ts";

// The whole package, as everybody imports it; it has no types of its own.
const { BearerStrategy } = createRequire(import.meta.url)("passport-azure-ad");
const { authorityHost, tenantId, clientId } = settings();
const exchange = createExchange();

passport.use(
  new BearerStrategy(
    {
      identityMetadata: `${authorityHost}${tenantId}/v2.0/.well-known/openid-configuration`,
      clientID: clientId,
      issuer: `${authorityHost}${tenantId}/v2.0`,
      validateIssuer: true,
      audience: [clientId],
      loggingLevel: "fatal",
    },
    (claims: object, done: (error: null, user: object) => void) => done(null, claims),
  ),
);

const app = express();
app.use(passport.initialize());
app.all(
  "/forward-auth/graph",
  passport.authenticate("oauth-bearer", { session: false }),
  async (request, response) => {
    const token = await exchange(request.headers.authorization?.slice("Bearer ".length) ?? "");
    response.set("authorization", `Bearer ${token}`).end();
  },
);
announce(createServer(app));
