/** The part of gateway.yaml that switches on the local API: token endpoints and forward-auth for other programs of this machine or pod. */

import { fieldName, guid, nonEmpty, pathPattern, scope, wholeNumber } from "./values.ts";
import { z } from "./zod.ts";

const localApi = z.strictObject({
  requiredScopes: z.array(scope).default([]).describe("Any one of them must be in scp."),
  requiredRoles: z.array(nonEmpty).default([]).describe("Any one of them must be in roles."),
  allowedClients: z
    .array(guid)
    .default([])
    .describe("Clients (azp or appid) whose users' tokens may be exchanged; empty adds no rule."),
  overrides: z
    .array(z.enum(["scopes", "tenant"]))
    .default([])
    .describe(
      "Which options of a request may differ from the configured ones: scopes of the same resource, or the tenant of application tokens.",
    ),
  applicationTokens: z
    .boolean()
    .default(false)
    .describe("Whether tokens of the gateway's own application are given for this API, without any user."),
  allow: z
    .array(pathPattern)
    .min(1)
    .optional()
    .describe("Paths that /DownstreamApi may call: * is one segment, ** any number. Left out: any."),
});

/** A field that the proxy in front, or HTTP itself, gives another meaning cannot carry a user's id. */
const identityField = fieldName
  .refine((name) => /^x-/i.test(name), "must begin with X-, so that it stands for no field of HTTP")
  .refine(
    (name) => !/^x-(?:correlation-id|accel-|forwarded-|original-|envoy-)/i.test(name),
    "is a field with a meaning of its own; choose another name",
  );

export const local = z
  .strictObject({
    hosts: z
      .array(
        z
          .string()
          .regex(/^[A-Za-z0-9.-]+$/, "must be a host name without a port, such as app.example.com")
          .transform((name) => name.toLowerCase()),
      )
      .default([])
      .describe(
        "Names that may stand in Host, besides localhost and loopback addresses: for proxies that pass their caller's Host on.",
      ),
    maxConnections: wholeNumber(1, 65_536)
      .default(512)
      .describe("Connections at once; one more takes the place of one without progress, or is closed."),
    maxBodyBytes: wholeNumber(1_024, 16 * 2 ** 20)
      .default(2 ** 20)
      .describe("Largest body of a request, which is kept in memory."),
    requestTimeoutSeconds: wholeNumber(1, 300)
      .default(30)
      .describe("Until a request with its body must be here."),
    apis: z
      .record(z.string(), localApi)
      .optional()
      .describe(
        "APIs whose tokens are given, by the names of downstreamApis. Left out: every API, for users' tokens alone.",
      ),
    forwardAuth: z
      .strictObject({
        cacheSeconds: wholeNumber(0, 3_600)
          .default(0)
          .describe(
            "How long a proxy may keep a decision that lets pass, at most until the token ends; 0 lets it keep none. Limits count no request that a kept decision answers.",
          ),
        identityFields: z
          .strictObject({
            user: identityField
              .optional()
              .describe("Field for the caller's oid, such as X-Auth-Request-User."),
            tenant: identityField.optional().describe("Field for the caller's tid."),
            client: identityField.optional().describe("Field for the client (azp or appid)."),
            scopes: identityField.optional().describe("Field for the scopes, separated by blanks."),
            roles: identityField.optional().describe("Field for the roles, separated by commas."),
          })
          .refine((fields) => {
            const names = Object.values(fields).map((name) => name?.toLowerCase());
            return new Set(names).size === names.length;
          }, "must be different names")
          .prefault({}),
      })
      .prefault({}),
  })
  .describe(
    "Token endpoints and forward-auth on LOCAL_PORT (loopback alone) or LOCAL_SOCKET. Left out: there are none.",
  );
