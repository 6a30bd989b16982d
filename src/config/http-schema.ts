/** The part of gateway.yaml that the public side reads: how it is reached, and how much of it anybody may take. */

import { z } from "zod";
import { origin, wholeNumber } from "./values.ts";

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
      maxAgeSeconds: wholeNumber(0, 86_400).default(600),
    })
    .prefault({}),
  trustedProxies: z
    .array(
      z.union(
        [z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()],
        "must be an address or a network such as 10.0.0.0/8",
      ),
    )
    .default([])
    .describe("Proxies whose X-Forwarded-* are believed, for APIs with sendForwarded."),
  shutdownGraceSeconds: wholeNumber(1, 600)
    .default(25)
    .describe("After SIGTERM, how long requests in flight may take to finish."),
});
