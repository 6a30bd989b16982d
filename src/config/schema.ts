/** The shape of gateway.yaml: what a key means, its default and its limits. Editors complete from its JSON Schema. */

import type { output } from "zod";
import { Secret } from "../foundation/secret.ts";
import { describeAddressProblem, parseRedisAddress } from "../redis/address.ts";
import { admin, http, rateLimits } from "./http-schema.ts";
import { local } from "./local-schema.ts";
import { mcp } from "./mcp-schema.ts";
import { tools } from "./tools-schema.ts";
import { guid, nonEmpty, pathPattern, scope, wholeNumber } from "./values.ts";
import { z } from "./zod.ts";

const identity = z.strictObject({
  verifier: z
    .enum(["passport-azure-ad", "jose"])
    .default("passport-azure-ad")
    .describe("Which implementation checks signatures; both obey the same policy."),
  tenants: z
    .array(z.union([z.literal("*"), guid], "must be a tenant id (GUID) or *"))
    .min(1)
    .describe('Tenants whose users may call. ["*"] accepts any, with the issuer bound to each token\'s tid.'),
  audiences: z
    .array(nonEmpty)
    .min(1)
    .describe("Accepted aud values: the client id (v2 tokens) and the App ID URI (v1 tokens)."),
  allowedClients: z
    .array(guid)
    .default([])
    .describe("Clients (azp or appid) that may call; empty accepts any client."),
  clockToleranceSeconds: wholeNumber(0, 300)
    .default(60)
    .describe("Clock difference to the authority that is forgiven."),
  cache: z
    .strictObject({
      maxEntries: wholeNumber(0, 10_000_000)
        .default(100_000)
        .describe("Verified tokens known for five minutes; 0 checks every request's signature."),
      maxBytes: wholeNumber(65_536, 64 * 2 ** 30)
        .optional()
        .describe(
          "Memory for them, bytes: half a kilobyte each, more for users in many groups. Left out: a tenth of the heap, 96 MiB at most.",
        ),
    })
    .prefault({}),
});

const credential = z.strictObject({
  sources: z
    .array(
      z.enum([
        "workload-identity",
        "certificate",
        "client-assertion",
        "github-actions",
        "azure-pipelines",
        "identity-binding",
        "managed-identity",
        "client-secret",
      ]),
    )
    .min(1)
    .optional()
    .describe("Credentials in the order they are tried. Left out: every source whose settings are present."),
  managedIdentityClientId: guid
    .optional()
    .describe("Client id of the user-assigned identity that a federated credential of the app names."),
});

const exchange = z.strictObject({
  timeoutMs: wholeNumber(100, 120_000)
    .default(10_000)
    .describe("Total time for one exchange with Entra, retries included."),
  maxConcurrent: wholeNumber(1, 100_000)
    .default(1_000)
    .describe(
      "Exchanges under way at once. Past it requests are answered 503 overloaded, past a user's or client's share (fairness) 429 rate_limited.",
    ),
  refusalMemoryMs: wholeNumber(0, 60_000)
    .default(3_000)
    .describe(
      "How long a refusal that concerns the user is answered from memory for the same token; 0 asks Entra each time.",
    ),
  cache: z
    .strictObject({
      maxEntries: wholeNumber(1, 10_000_000).default(100_000).describe("Delegated tokens kept in memory."),
      maxBytes: wholeNumber(65_536, 64 * 2 ** 30)
        .optional()
        .describe("Memory for delegated tokens, bytes. Left out: three tenths of the heap, 512 MiB at most."),
      expiryMarginSeconds: wholeNumber(0, 1_800)
        .default(300)
        .describe("How long before its end a token is no longer served."),
      redis: z
        .strictObject({
          url: z
            .string()
            .superRefine((text, { addIssue }) => {
              if (text !== "" && parseRedisAddress(text) === undefined)
                addIssue({ code: "custom", message: describeAddressProblem(text) });
            })
            .transform((value) => new Secret(value))
            .prefault("")
            .describe(
              "Tier shared by replicas, such as rediss://:key@host:port; empty keeps tokens in memory.",
            ),
          auth: z
            .enum(["password", "entra"])
            .default("password")
            .describe(
              "entra signs in to Redis with tokens of the gateway's own credential, and the address holds no password.",
            ),
          timeoutMs: wholeNumber(5, 5_000)
            .default(50)
            .describe("What one operation of the shared tier may take before a request goes on without it."),
        })
        .prefault({}),
    })
    .prefault({}),
  consent: z
    .strictObject({
      frontEndClientId: guid
        .optional()
        .describe(
          "Front end whose consent prompt covers the gateway too, when the registration lists it in knownClientApplications.",
        ),
      appIdUri: nonEmpty.optional().describe("App ID URI of the gateway; default api://<client id>."),
    })
    .prefault({}),
});

const headerRuleChanges = z
  .strictObject({
    allow: z.array(nonEmpty).default([]).describe("Fields that pass although the default rules drop them."),
    deny: z.array(nonEmpty).default([]).describe("Fields that are dropped besides."),
  })
  .prefault({});

const downstreamApi = z.strictObject({
  baseUrl: z
    .url({ protocol: /^https?$/, error: "must be an absolute http(s) URL" })
    .describe("Everything is forwarded below it."),
  scopes: z
    .array(scope)
    .min(1)
    .describe("Delegated scopes to exchange for, fully qualified and of one resource."),
  timeoutMs: wholeNumber(1, 600_000)
    .default(30_000)
    .describe(
      "Time until the answer's headers must be here; while a request body arrives steadily it does not run.",
    ),
  idleTimeoutMs: wholeNumber(1, 3_600_000)
    .default(60_000)
    .describe("Longest pause between two chunks of a body, either way."),
  streamIdleTimeoutMs: wholeNumber(1, 86_400_000)
    .default(1_800_000)
    .describe(
      "The same for answers of text/event-stream (server-sent events, MCP), in which little happens for long.",
    ),
  minUploadBytesPerSecond: wholeNumber(1, 1_000_000_000)
    .default(1_024)
    .describe(
      "Least rate of a request body; at this rate or above, timeoutMs begins only when the body has been sent.",
    ),
  maxRequestBytes: wholeNumber(0, 2 ** 50)
    .default(100 * 2 ** 20)
    .describe("Largest request body, bytes."),
  maxConcurrent: wholeNumber(1, 65_536)
    .default(1_024)
    .describe("Requests under way at once, each on a connection of its own."),
  maxWaiting: wholeNumber(0, 65_536)
    .default(1_024)
    .describe("Requests that may wait for one of these to end; one more is answered 503 overloaded."),
  connections: z
    .strictObject({
      max: wholeNumber(1, 65_536)
        .optional()
        .describe(
          "Connections at once. Each carries one request, so the smaller of this and maxConcurrent bounds both. Left out: maxConcurrent.",
        ),
      keepAliveMs: wholeNumber(1, 600_000)
        .default(30_000)
        .describe("How long an unused connection is kept, unless the API asks for less."),
      maxRequests: wholeNumber(0, 1_000_000_000)
        .default(0)
        .describe("Requests after which a connection is closed; 0 sets no limit."),
      maxAgeMs: wholeNumber(100, 86_400_000)
        .default(300_000)
        .describe(
          "Age at which a connection is closed, as soon as no request is on it; a change of DNS takes effect by then.",
        ),
    })
    .prefault({}),
  maxThrottleWaitMs: wholeNumber(0, 60_000)
    .default(0)
    .describe("Longest Retry-After of a 429 or 503 that the gateway waits out itself; 0 passes them on."),
  breaker: z
    .strictObject({
      failures: wholeNumber(0, 1_000)
        .default(5)
        .describe("Consecutive failures to connect that open it; 0 switches it off."),
      openMs: wholeNumber(100, 300_000)
        .default(5_000)
        .describe("How long requests are refused at once before one may try."),
    })
    .prefault({}),
  headers: z
    .strictObject({
      request: headerRuleChanges,
      response: headerRuleChanges,
      sendForwarded: z
        .boolean()
        .default(false)
        .describe(
          "Sends Forwarded and X-Forwarded-*, written anew from http.trustedProxies or the connection.",
        ),
    })
    .optional()
    .describe("Changes to the default header rules of this API."),
  followRedirects: z
    .boolean()
    .default(false)
    .describe(
      "Follows redirects of GET and HEAD: below baseUrl by the route's rules, to other origins by https without the token.",
    ),
  kind: z
    .enum(["graph", "odata", "plain"])
    .optional()
    .describe(
      "odata reads keys in parentheses and points links at the gateway; graph opens $batch besides. Left out: graph for Microsoft Graph's own hosts.",
    ),
  encodedSlashes: z
    .enum(["refuse", "pass"])
    .default("refuse")
    .describe(
      "pass lets segments with %2F, %5C or a double encoding through, where the pattern says ** for them.",
    ),
  allowPrivateNetwork: z
    .boolean()
    .default(false)
    .describe("Permits http and loopback, link-local or private addresses: development and in-cluster APIs."),
});

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

const route = z.strictObject({
  path: z
    .string()
    .regex(/^(?:\/[A-Za-z0-9._~-]+)+$/, "must start with / and hold plain segments, without a trailing slash")
    .describe("Mount point; everything below it belongs to the route."),
  downstreamApi: nonEmpty
    .optional()
    .describe(
      "Name of an entry under downstreamApis: where requests are forwarded, or which API the handler calls.",
    ),
  handler: nonEmpty
    .optional()
    .describe(
      "Answers in code instead of forwarding: profile, inbox, files, graph-mcp, or a name that the embedding program or GATEWAY_HANDLERS registered.",
    ),
  methods: z
    .array(z.enum(METHODS))
    .min(1)
    .optional()
    .describe(
      "Methods that are forwarded; default GET, with mcp: true POST, GET and DELETE. With handler: graph-mcp those that its calls of Graph may have; default GET.",
    ),
  requiredScopes: z.array(scope).default([]).describe("Any one of them must be in scp."),
  requiredRoles: z.array(nonEmpty).default([]).describe("Any one of them must be in roles."),
  allowedClients: z.array(guid).default([]).describe("Narrows identity.allowedClients for this route."),
  as: z
    .enum(["user", "app"])
    .default("user")
    .describe(
      "Whose permissions are used: the caller's, by exchange, or the gateway's own in the caller's tenant.",
    ),
  mcp: z
    .boolean()
    .default(false)
    .describe(
      "Whether a server of the Model Context Protocol stands behind, whose clients sign in by `mcp`.",
    ),
  requireUser: z
    .boolean()
    .default(true)
    .describe("Whether only users may call; false admits applications, to routes that say as: app."),
  authContext: z
    .string()
    .regex(/^c\d{1,2}$/, "must be an authentication context such as c1")
    .optional()
    .describe("Step-up: a token without this acrs value is answered with a claims challenge."),
  allow: z
    .array(pathPattern)
    .min(1)
    .optional()
    .describe(
      "Downstream paths that pass: * is one segment, ** any number. Nothing else passes. With mcp: true the default is the base URL alone. With handler: the paths that it may call; left out, any.",
    ),
  tools: tools.optional(),
  limits: rateLimits.prefault({}).describe("Limits of this route alone, in place of those for all routes."),
});

const share = z.number().gt(0).max(1);

const fairness = z
  .strictObject({
    userShare: share
      .default(0.125)
      .describe(
        "Part of what the process holds at once (requests under way at an API, waiting places, exchanges, batch bytes) that one user may take.",
      ),
    clientShare: share
      .default(1)
      .describe(
        "The same for one client with all its users; below 1 where several clients share the gateway.",
      ),
    replayBytes: wholeNumber(0, 64 * 2 ** 30)
      .default(32 * 2 ** 20)
      .describe(
        "Memory for small request bodies that are kept until the API answers, so that they can be sent again; a body that finds no room is sent once.",
      ),
    batches: wholeNumber(1, 1_000_000).default(256).describe("Batches ($batch) under way at once."),
    mcpBytes: wholeNumber(1_048_576, 64 * 2 ** 30)
      .default(64 * 2 ** 20)
      .describe("Memory for messages to MCP servers while they are under way, bytes."),
    batchBytes: wholeNumber(1_048_576, 64 * 2 ** 30)
      .default(64 * 2 ** 20)
      .describe("Memory for the bodies and answers of batches, bytes."),
  })
  .describe("How much of the gateway one caller may hold, so that the others are served.");

const delegations = z
  .strictObject({
    clients: z
      .array(guid)
      .min(1)
      .describe(
        "Client ids of the jobs. A handle serves them alone, each with its own token in the user's tenant.",
      ),
    maxDays: wholeNumber(1, 365)
      .default(30)
      .describe("Life of a delegation, days; lowered, it holds for those that are there."),
    routes: z
      .array(nonEmpty)
      .default([])
      .describe("Paths of routes on which a request with a Delegation field runs as the user."),
    requiredScopes: z
      .array(scope)
      .default([])
      .describe("Any one of them must be in scp of a user who delegates at /delegations."),
    adminRole: nonEmpty
      .optional()
      .describe(
        "Application role whose holders may end any delegation of their tenant. Left out: users alone end theirs.",
      ),
    maxPerUser: wholeNumber(1, 1_000).default(20).describe("Delegations that one user may have at once."),
    maxPerClient: wholeNumber(1, 10_000_000)
      .default(10_000)
      .describe("Delegations that all users of one client, by which they delegate, may have at once."),
  })
  .describe(
    "Leave for jobs to act for users who have gone home; needs exchange.cache.redis. Left out: none of it exists.",
  );

const log = z
  .strictObject({
    granted: z
      .enum(["all", "sampled", "none"])
      .default("all")
      .describe("Which granted requests get a line: all, one in sampleOneIn, or none. Refusals always do."),
    sampleOneIn: wholeNumber(1, 1_000_000)
      .default(100)
      .describe("With granted: sampled, one in so many granted requests gets a line."),
  })
  .describe("Lines of requests; their level is LOG_LEVEL's matter.");

const audit = z
  .strictObject({
    onLoss: z
      .enum(["drop", "refuse"])
      .default("drop")
      .describe(
        "While the audit stream cannot be written: drop its lines and count them, or keep them and refuse requests with 503 overloaded.",
      ),
  })
  .describe("The stream of exchanges and credentials, in the log or in AUDIT_LOG_FILE.");

export const gatewayYaml = z
  .strictObject({
    identity,
    credential: credential.prefault({}),
    exchange: exchange.prefault({}),
    downstreamApis: z
      .record(z.string().regex(/^[a-z][A-Za-z0-9-]*$/, "must be a name such as graph"), downstreamApi)
      .refine((apis) => Object.keys(apis).length > 0, "must name at least one API"),
    routes: z.array(route).min(1),
    http: http.prefault({}),
    mcp: mcp.optional(),
    admin: admin.prefault({}),
    console: z
      .strictObject({
        enabled: z.boolean().default(false).describe("Shows the flow console at /console of the admin port."),
      })
      .prefault({}),
    local: local.optional(),
    limits: rateLimits.prefault({}).describe("For all routes together; replicas with Redis count together."),
    fairness: fairness.prefault({}),
    delegations: delegations.optional(),
    log: log.prefault({}),
    audit: audit.prefault({}),
  })
  .meta({ title: "obo-gateway configuration" });

export type GatewayYaml = output<typeof gatewayYaml>;
