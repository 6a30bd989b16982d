/** Three tools that are Graph: search its operations, describe one, call one. */

import type { DownstreamClient, DownstreamResponse } from "../../downstream/contract.ts";
import { GatewayError } from "../../errors.ts";
import type { Operation, Operations, ToolDefinition, ToolResult } from "./contract.ts";
import { isGranted, searchOperations } from "./operations.ts";
import { type Cursor, pieceOf, readCursor, writeCursor } from "./pieces.ts";

export interface GraphToolsOptions {
  readonly operations: Operations;
  /** Methods that calls may have. */
  readonly methods: readonly string[];
  /** Calls Graph as the caller, inside the route's `allow`. */
  readonly client: DownstreamClient;
  /** Scopes of the delegated token, where Entra said them. */
  readonly granted: () => Promise<readonly string[] | undefined>;
  /** Called with a refusal that the caller has to meet outside of the protocol's messages: by signing in, or by waiting. */
  readonly onRefused: (error: GatewayError) => void;
}

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 50;
/** Fields of a call that Graph's own documentation asks for. */
const FIELDS = ["ConsistencyLevel", "Prefer", "If-Match"] as const;

/** Refusals of what the call says, which a model can correct by itself. */
const CORRECTABLE: ReadonlySet<GatewayError["code"]> = new Set(["target_forbidden", "request_malformed"]);

export function createGraphTools(options: GraphToolsOptions): readonly ToolDefinition[] {
  /** A refusal of the gateway is the failure of the call; one that the model cannot correct is handed on besides. */
  const guarded =
    (run: (options: GraphToolsOptions, input: Input) => Promise<ToolResult>): ToolDefinition["run"] =>
    async (input) => {
      try {
        return await run(options, input);
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        if (!CORRECTABLE.has(error.code)) options.onRefused(error);
        return failure(error.detail);
      }
    };
  return [
    { ...SEARCH, run: guarded(search) },
    { ...DESCRIBE, run: guarded(describe) },
    { ...callTool(options.methods), run: guarded(call) },
  ];
}

type Input = Readonly<Record<string, unknown>>;
/** What a client reads of a tool. */
type Described = Omit<ToolDefinition, "run">;

const ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
/** Of tools that look things up in the gateway's table. */
const LOOKS_UP = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false };

const SEARCH: Described = {
  name: "graph_search",
  description:
    "Finds operations of Microsoft Graph that may be called here, by words such as 'messages' or 'calendar events'. Returns operations with the permissions that open them.",
  inputSchema: {
    type: "object",
    properties: {
      query: {
        type: "string",
        maxLength: 200,
        description: "Words; left out, all operations are listed.",
      },
      limit: {
        type: "integer",
        minimum: 1,
        maximum: MAX_LIMIT,
        description: `Default ${DEFAULT_LIMIT}.`,
      },
      cursor: { type: "string", maxLength: 64, description: "From the result before." },
    },
    additionalProperties: false,
  },
  annotations: { title: "Search operations of Microsoft Graph", ...LOOKS_UP },
};

const DESCRIBE: Described = {
  name: "graph_describe",
  description:
    "Describes one operation of Microsoft Graph: whether it may be called here, which permissions open it, and how it is called.",
  inputSchema: {
    type: "object",
    properties: {
      method: { type: "string", enum: [...ALL_METHODS] },
      path: { type: "string", maxLength: 2_048, description: "Such as /me/messages or /users/{id}." },
    },
    required: ["method", "path"],
    additionalProperties: false,
  },
  annotations: { title: "Describe an operation of Microsoft Graph", ...LOOKS_UP },
};

function callTool(methods: readonly string[]): Described {
  const isReadOnly = methods.every((method) => method === "GET");
  return {
    name: "graph_call",
    description: `Calls one operation of Microsoft Graph as the signed-in user (${methods.join(", ")}). Long results come in pieces: call again with the cursor alone.`,
    inputSchema: {
      type: "object",
      properties: {
        method: { type: "string", enum: [...methods], description: `Default ${methods[0]}.` },
        path: {
          type: "string",
          maxLength: 2_048,
          description: "Below the version, with real values for parameters: /me/messages.",
        },
        query: {
          type: "object",
          maxProperties: 30,
          additionalProperties: { type: ["string", "number", "boolean"] },
          description: "OData parameters: $select, $filter, $top, $orderby, $expand, $search, $count.",
        },
        headers: {
          type: "object",
          properties: Object.fromEntries(FIELDS.map((name) => [name, { type: "string", maxLength: 500 }])),
          additionalProperties: false,
        },
        ...(isReadOnly ? {} : { body: { type: "object", description: "Sent as JSON." } }),
        cursor: {
          type: "string",
          maxLength: 8_192,
          description: "From the result before, without any other argument.",
        },
      },
      additionalProperties: false,
    },
    annotations: {
      title: "Call Microsoft Graph",
      readOnlyHint: isReadOnly,
      destructiveHint: methods.some((method) => method !== "GET" && method !== "POST"),
      idempotentHint: isReadOnly,
      openWorldHint: true,
    },
  };
}

async function search(
  { operations, granted }: GraphToolsOptions,
  { query = "", limit = DEFAULT_LIMIT, cursor }: Input,
): Promise<ToolResult> {
  const from = cursor === undefined ? 0 : Number(cursor);
  if (!Number.isSafeInteger(from) || from < 0) return failure("The cursor is not one of this tool.");
  const held = operations.isKnown ? await granted() : undefined;
  const found = searchOperations(operations.all, String(query)).filter(
    (one) => isGranted(one, held) !== false,
  );
  const end = from + Number(limit);
  return result({
    operations: found.slice(from, end).map((one) => listed(one)),
    ...(end < found.length && { nextCursor: String(end) }),
    ...(!operations.isKnown && {
      note: "The operator names no table of Graph's operations, so these are the patterns of paths that this gateway opens: * is one segment, ** any number. Operations below them may be called.",
    }),
    ...(operations.isKnown &&
      held === undefined && {
        note: "It is not known which permissions the signed-in user's token has; a call may be refused.",
      }),
  });
}

function listed({ operation, permissions, least }: Operation) {
  return permissions === undefined
    ? { operation }
    : { operation, permissions: least.length > 0 ? least : permissions };
}

async function describe(
  { operations, methods, granted }: GraphToolsOptions,
  { method, path }: Input,
): Promise<ToolResult> {
  const [asked, below] = [String(method), String(path)];
  if (!methods.includes(asked))
    return result({
      operation: `${asked} ${below}`,
      allowed: false,
      why: `This gateway opens ${methods.join(", ")} alone.`,
    });
  const found = operations.find(asked, below);
  if (found === undefined)
    return result({
      operation: `${asked} ${below}`,
      known: false,
      note: operations.isKnown
        ? "The table of Graph's operations does not know this one, which says nothing about what a call needs."
        : "The operator names no table of Graph's operations. A call shows whether the path is open.",
      patterns: operations.isKnown ? undefined : operations.all.map(({ operation }) => operation),
    });
  const isOpen = operations.all.some(({ operation }) => operation === found.operation);
  return result({
    operation: found.operation,
    allowed: isOpen,
    permissions: {
      anyOf: found.permissions,
      least: found.least,
      granted: isGranted(found, await granted()) ?? "unknown",
    },
    call: {
      tool: "graph_call",
      parameters: found.operation.match(/\{[^}]*\}/g) ?? [],
      ...(asked === "GET" && {
        query: ["$select", "$filter", "$top", "$orderby", "$expand", "$search", "$count"],
      }),
      ...(asked !== "GET" && asked !== "DELETE" && { body: "JSON" }),
    },
  });
}

async function call({ client, methods }: GraphToolsOptions, input: Input): Promise<ToolResult> {
  const { cursor, method = methods[0], path, query = {}, headers = {}, body } = input;
  const at = cursor === undefined ? undefined : readCursor(String(cursor));
  if (cursor !== undefined && (at === undefined || Object.keys(input).length > 1))
    return failure("A cursor is one that this tool gave, and stands alone.");
  const target = at ?? targetOf(path, query as Readonly<Record<string, string | number | boolean>>);
  if (target === undefined)
    return failure("path is missing; it begins with / and holds neither a host nor #.");
  if (!methods.includes(String(method)) || (at !== undefined && !methods.includes("GET")))
    return failure(`This gateway opens ${methods.join(", ")} alone.`);
  if (namesBatch(target.path)) return failure("Requests cannot be batched here; call them one by one.");
  const asked = at === undefined ? String(method) : "GET";
  const response = await client[asked.toLowerCase() as "get"](
    target.query === "" ? target.path : `${target.path}?${target.query}`,
    {
      headers: fieldsOf(headers as Readonly<Record<string, string>>),
      ...(body !== undefined && { json: body }),
    },
  );
  return answerOf(response, target, asked);
}

/** The query may stand in the path, as in Graph's documentation. */
function targetOf(
  path: unknown,
  query: Readonly<Record<string, string | number | boolean>>,
): Cursor | undefined {
  if (typeof path !== "string" || !path.startsWith("/") || path.startsWith("//") || path.includes("#"))
    return undefined;
  const [below = "", ...written] = path.split("?");
  const added = Object.entries(query).map(
    ([name, value]) => `${encodeURIComponent(name).replaceAll("%24", "$")}=${encodeURIComponent(value)}`,
  );
  const parts = [written.join("?"), ...added].filter((part) => part !== "");
  return { path: encodeBlanks(below), query: encodeBlanks(parts.join("&")), from: 0 };
}

/** Models write `$filter=a eq 'b'` as people do. */
function encodeBlanks(text: string): string {
  return text.replace(/[^\x21-\x7e]+/g, (part) =>
    encodeURIComponent(part.replace(/\p{Surrogate}/gu, "\ufffd")),
  );
}

/** The parts of a batch would pass by the route's rules, however `$batch` is spelt. */
function namesBatch(path: string): boolean {
  let spelt = path;
  for (let round = 0; round < 3; round += 1) {
    try {
      spelt = decodeURIComponent(spelt);
    } catch {
      break;
    }
  }
  return spelt.toLowerCase().includes("$batch");
}

function fieldsOf(given: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    FIELDS.flatMap((name) => {
      const value = given[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

async function answerOf(response: DownstreamResponse, at: Cursor, method: string): Promise<ToolResult> {
  const { status, ok, headers } = response;
  const type = headers.get("content-type") ?? "";
  if (status === 204 || headers.get("content-length") === "0") {
    response.discard();
    return result({ status });
  }
  if (!/\bjson\b|^text\//i.test(type)) {
    response.discard();
    return failure(
      `Graph answered ${status} with ${type || "bytes of no type"}, which is no text and is not given here.`,
    );
  }
  const { text, next } = pieceOf(await response.text(), at);
  if (!ok) return failure(`Graph answered ${status}: ${text}`, retryOf(headers));
  // What a write answered cannot be asked for again, so its rest is not offered.
  const cursor = next === undefined || method !== "GET" ? undefined : writeCursor(next);
  return {
    content: [
      { type: "text", text },
      ...(cursor === undefined
        ? []
        : [
            {
              type: "text" as const,
              text: `There is more. Call graph_call with {"cursor":"${cursor}"} alone.`,
            },
          ]),
    ],
  };
}

function retryOf(headers: Headers): string {
  const after = headers.get("retry-after");
  return after === null ? "" : ` Try again after ${after} seconds.`;
}

function result(value: unknown): ToolResult {
  return { content: [{ type: "text", text: JSON.stringify(value) }] };
}

function failure(text: string, more = ""): ToolResult {
  return { isError: true, content: [{ type: "text", text: text + more }] };
}
