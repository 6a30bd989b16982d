/** The part of gateway.yaml that the public side reads: how it is reached, and how much of it each caller may take. */

import { fieldName, origin, wholeNumber } from "./values.ts";
import { z } from "./zod.ts";

const rateLimit = z.strictObject({
  requests: wholeNumber(1, 1_000_000_000).describe("Requests that pass in one window; one more gets 429."),
  perSeconds: wholeNumber(1, 86_400)
    .default(60)
    .describe("Length of a window, which begins with the first request in it."),
});

export const rateLimits = z.strictObject({
  perUser: rateLimit.optional().describe("For each user, or application without a user (tid and oid)."),
  perClient: rateLimit.optional().describe("For each client with all its users (tid and azp)."),
});

/** Fields that scripts read: of answers of Graph, OData APIs, long-running operations, downloads and MCP. */
const EXPOSED_HEADERS = [
  "accept-ranges",
  "azure-asyncoperation",
  "client-request-id",
  "content-disposition",
  "content-location",
  "content-range",
  "etag",
  "last-modified",
  "link",
  "location",
  "mcp-protocol-version",
  "mcp-session-id",
  "odata-entityid",
  "operation-location",
  "preference-applied",
  "request-id",
  "x-ms-request-id",
];

export const http = z.strictObject({
  publicUrl: z
    .url({ protocol: /^https?$/, error: "must be an absolute http(s) URL" })
    .optional()
    .describe(
      "How callers reach the gateway; switches on RFC 9728 metadata and resource_metadata in challenges.",
    ),
  cors: z
    .strictObject({
      origins: z.array(origin).default([]).describe("Browser origins that may call; empty leaves CORS off."),
      maxAgeSeconds: wholeNumber(0, 86_400)
        .default(600)
        .describe("How long browsers may keep the answer to a preflight request."),
      exposedHeaders: z
        .array(fieldName)
        .default(EXPOSED_HEADERS)
        .describe(
          "Header fields of answers that scripts may read, besides www-authenticate, retry-after, ratelimit, ratelimit-policy and x-correlation-id.",
        ),
    })
    .prefault({}),
  probePath: z
    .string()
    .regex(/^\/[A-Za-z0-9._~/-]*$/, "must be a path such as /healthz")
    .refine((value) => !value.startsWith("/.well-known"), "must not lie below /.well-known")
    .optional()
    .describe(
      "Path on the public port that says without a token whether the gateway is ready, for load balancers that probe no other port.",
    ),
  openapi: z
    .boolean()
    .default(false)
    .describe(
      "Serves an OpenAPI description of the routes at /.well-known/openapi.json, to callers without a token too.",
    ),
  trustedProxies: z
    .array(
      z.union(
        [z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()],
        "must be an address or a network such as 10.0.0.0/8",
      ),
    )
    .default([])
    .describe("Proxies whose X-Forwarded-* are believed, for APIs with sendForwarded."),
  connections: z
    .strictObject({
      max: wholeNumber(1, 1_000_000)
        .default(8_192)
        .describe("Connections at once; one more takes the place of one without progress, or is closed."),
      maxPipelined: wholeNumber(1, 128)
        .default(16)
        .describe("Requests of one connection that run at the same time; what comes behind them waits."),
      headersTimeoutSeconds: wholeNumber(1, 300)
        .default(20)
        .describe("Until all headers of a request are here."),
      requestTimeoutSeconds: wholeNumber(0, 86_400)
        .default(3_600)
        .describe("Until its body is here, too; 0 sets no limit."),
      keepAliveTimeoutSeconds: wholeNumber(1, 3_600)
        .default(65)
        .describe(
          "How long a connection without a request is kept: longer than the balancer in front keeps it.",
        ),
      maxRequests: wholeNumber(0, 1_000_000_000)
        .default(0)
        .describe("Requests after which the caller is asked to open another connection; 0 sets no limit."),
      writeStallSeconds: wholeNumber(1, 3_600)
        .default(30)
        .describe("Longest pause in which a caller takes nothing of an answer that is there for it."),
      minWriteBytesPerSecond: wholeNumber(0, 1_000_000_000)
        .default(512)
        .describe(
          "Least rate at which a caller takes an answer, once it has taken longer than such a pause.",
        ),
      writeTimeoutSeconds: wholeNumber(1, 86_400)
        .default(600)
        .describe("Longest time until a caller has taken the rest of an answer that is there for it."),
    })
    .refine(
      ({ headersTimeoutSeconds, requestTimeoutSeconds }) =>
        requestTimeoutSeconds === 0 || requestTimeoutSeconds >= headersTimeoutSeconds,
      { path: ["requestTimeoutSeconds"], error: "must be 0, or not less than headersTimeoutSeconds" },
    )
    .prefault({}),
  maxEventLoopLagMs: wholeNumber(0, 60_000)
    .default(500)
    .describe("Lag of the event loop at which new requests get 503 overloaded; 0 never sheds."),
  shutdownGraceSeconds: wholeNumber(1, 600)
    .default(25)
    .describe("After SIGTERM, how long requests in flight may take to finish."),
});

/** The part that the admin listener reads. */
export const admin = z.strictObject({
  hosts: z
    .array(
      z
        .string()
        .regex(/^[A-Za-z0-9.-]+$/, "must be a host name without a port, such as gateway.monitoring.svc"),
    )
    .default([])
    .describe(
      "Names under which the admin port is reached, besides addresses and localhost; a request for another is refused.",
    ),
});
