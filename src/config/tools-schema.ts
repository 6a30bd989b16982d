/** The part of a route in gateway.yaml that says which tools of an MCP server its callers may use. */

import { rateLimits } from "./http-schema.ts";
import { scope } from "./values.ts";
import { z } from "./zod.ts";

/** MCP (Tools, names) takes letters, digits, `_`, `-`, `.` and `/`; `*` is the pattern's. */
const toolPattern = z
  .string()
  .regex(/^[A-Za-z0-9_./*-]{1,128}$/, "must be the name of a tool; * stands for any run of characters");

export const tools = z
  .strictObject({
    allow: z
      .array(toolPattern)
      .min(1)
      .optional()
      .describe("Tools that may be called and are listed, by name or pattern (get_*). Left out: all."),
    deny: z.array(toolPattern).default([]).describe("Tools that may not be called, whatever allow says."),
    scopes: z
      .record(toolPattern, z.array(scope).min(1))
      .default({})
      .describe(
        "By pattern: scopes of which any one must be in scp. Every pattern that matches a tool counts.",
      ),
    limits: z
      .record(toolPattern, rateLimits)
      .default({})
      .describe(
        "By pattern: how often its tools together may be called, besides the limits of requests. Every pattern that matches counts.",
      ),
  })
  .describe("Policy on the tools of an MCP server; goes with mcp: true. Left out: every tool may be called.");
