/** The endpoints of Microsoft's Entra auth sidecar, under its names and with its shapes. */

import type { IncomingMessage } from "node:http";
import type { DownstreamClient } from "../downstream/contract.ts";
import { GatewayError } from "../errors.ts";
import type { PlainHandler, RequestRecord, SecondSide } from "../http/contract.ts";
import { decodeCompactJwt } from "../identity/compact-jwt.ts";
import { readBody } from "./body.ts";
import type { LocalApi, TokenWish } from "./contract.ts";
import { answerJson, apiNamed, queryOf } from "./endpoint.ts";
import type { ObtainLocally } from "./tokens.ts";

export interface SidecarOptions {
  readonly admitting: SecondSide["admitting"];
  readonly apis: ReadonlyMap<string, LocalApi>;
  readonly obtain: ObtainLocally;
  readonly maxBodyBytes: number;
}

/** One endpoint: the methods that it takes, and what answers, given what follows its name in the path. */
export interface Endpoint {
  readonly methods: readonly string[];
  handle(rest: string): PlainHandler;
}

const DOWNSTREAM_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** By the first segment of the path in lower case: the sidecar's framework compares without case. */
export function sidecarEndpoints(options: SidecarOptions): Readonly<Record<string, Endpoint>> {
  const { admitting, apis, obtain, maxBodyBytes } = options;

  /** What a token is asked for, and for whom: the caller, or without one the application. */
  const forApi = (
    path: string,
    name: string,
    isAuthenticated: boolean,
    proceed: (
      request: IncomingMessage,
      response: Parameters<PlainHandler>[1],
      record: RequestRecord,
      asked: { readonly api: LocalApi; readonly options: ReadonlyMap<string, readonly string[]> },
    ) => Promise<void>,
  ): PlainHandler => {
    const api = apiNamed(apis, decoded(name));
    return (request, response, record) => {
      const given = readOptions(queryOf(request));
      const run: PlainHandler = (_request, _response) =>
        proceed(request, response, record, { api, options: given });
      const route = `${path}/${api.name}`;
      if (!isAuthenticated) {
        record.route = route;
        return run(request, response, record);
      }
      const policy = wishOf(given, false).asApplication
        ? { ...api.policy, callers: "any" as const }
        : api.policy;
      return admitting({ path: route, policy }, run)(request, response, record);
    };
  };

  const header = (path: string, isAuthenticated: boolean): Endpoint => ({
    methods: ["GET"],
    handle: (rest) =>
      forApi(path, rest, isAuthenticated, async (_request, response, record, asked) => {
        refuseOthers(asked.options, TOKEN_OPTIONS);
        const token = await obtain(record, asked.api, wishOf(asked.options, !isAuthenticated));
        answerJson(response, record.correlationId, {
          authorizationHeader: `Bearer ${token.accessToken.reveal()}`,
        });
      }),
  });

  const call = (path: string, isAuthenticated: boolean): Endpoint => ({
    methods: DOWNSTREAM_METHODS,
    handle: (rest) =>
      forApi(path, rest, isAuthenticated, async (request, response, record, asked) => {
        refuseOthers(asked.options, [...TOKEN_OPTIONS, ...CALL_OPTIONS]);
        const body = await readBody(request, record, maxBodyBytes);
        const left = new AbortController();
        response.once("close", () => left.abort());
        const { api } = asked;
        const wish = wishOf(asked.options, !isAuthenticated);
        const client = api.callable.client({
          obtainToken: (challenge) => obtain(record, api, wish, challenge),
          correlationId: record.correlationId,
          signal: left.signal,
          record,
          assertAllowed: api.assertAllowed,
        });
        const answer = await callApi(client, request, asked.options, body);
        record.downstreamStatus = answer.status;
        const contentType = answer.headers.get("content-type") ?? "";
        const content = await answer.bytes();
        const text = textOf(content, contentType);
        answerJson(response, record.correlationId, {
          statusCode: answer.status,
          headers: Object.fromEntries([...answer.headers].map(([name, value]) => [name, [value]])),
          content: text ?? Buffer.from(content).toString("base64"),
          ...(text === undefined && { contentEncoding: "base64" }),
        });
      }),
  });

  return {
    validate: {
      methods: ["GET"],
      handle: (rest) => {
        if (rest !== "") throw unknown();
        return admitting({ path: "/Validate" }, (_request, response, record, caller) => {
          const token = caller.assertion.token.reveal();
          const { claims } = decodeCompactJwt(token);
          answerJson(response, record.correlationId, { protocol: "Bearer", token, claims });
        });
      },
    },
    authorizationheader: header("/AuthorizationHeader", true),
    authorizationheaderunauthenticated: header("/AuthorizationHeaderUnauthenticated", false),
    downstreamapi: call("/DownstreamApi", true),
    downstreamapiunauthenticated: call("/DownstreamApiUnauthenticated", false),
  };
}

export function unknown(): GatewayError {
  return new GatewayError("route_unknown", { detail: "No endpoint of the local API matches the path." });
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw unknown();
  }
}

const PREFIX = "optionsoverride.";
const TOKEN_OPTIONS = [
  "scopes",
  "requestapptoken",
  "acquiretokenoptions.tenant",
  "acquiretokenoptions.forcerefresh",
  "acquiretokenoptions.claims",
  "acquiretokenoptions.correlationid",
];
const CALL_OPTIONS = ["relativepath", "httpmethod"];
/** Parameters that may be repeated. */
const LISTS = ["scopes"];

/** Options by their names in lower case, without the prefix. A parameter that is no option is refused, since it asks for another token. */
function readOptions(query: URLSearchParams): ReadonlyMap<string, readonly string[]> {
  const options = new Map<string, readonly string[]>();
  for (const [name, value] of query) {
    const key = name.toLowerCase();
    if (!key.startsWith(PREFIX)) throw notKnown(name);
    const option = key.slice(PREFIX.length);
    const earlier = options.get(option);
    if (earlier !== undefined && !LISTS.includes(option))
      throw malformed("option_repeated", "An option stands in the query twice.");
    options.set(option, [...(earlier ?? []), value]);
  }
  return options;
}

function refuseOthers(options: ReadonlyMap<string, unknown>, known: readonly string[]): void {
  for (const name of options.keys()) if (!known.includes(name)) throw notKnown(name);
}

/** Agent identities and other options of the sidecar that this gateway has not: ignored, they would give another token. */
function notKnown(name: string): GatewayError {
  const shown = /^[\w.]{1,64}$/.test(name) ? ` ${name}` : "";
  return malformed(
    "option_unknown",
    `The query holds a parameter that this endpoint does not know:${shown}.`,
  );
}

function wishOf(options: ReadonlyMap<string, readonly string[]>, isApplication: boolean): TokenWish {
  const one = (name: string) => options.get(name)?.[0];
  return {
    scopes: options.get("scopes")?.flatMap((scopes) => scopes.split(" ").filter((scope) => scope !== "")),
    tenant: one("acquiretokenoptions.tenant"),
    claims: one("acquiretokenoptions.claims"),
    fresh: flag(one("acquiretokenoptions.forcerefresh")),
    asApplication: flag(one("requestapptoken")) || isApplication,
  };
}

/** The caller's name for the request, where it is one; as the field `x-correlation-id` would give it. */
export function correlationIdOf(request: IncomingMessage): string | undefined {
  for (const [name, value] of queryOf(request))
    if (name.toLowerCase() === `${PREFIX}acquiretokenoptions.correlationid`) return value;
  return undefined;
}

function flag(value: string | undefined): boolean {
  const text = (value ?? "false").toLowerCase();
  if (text !== "true" && text !== "false") throw malformed("flag", "A switch is true or false.");
  return text === "true";
}

async function callApi(
  client: DownstreamClient,
  { method = "", headers }: IncomingMessage,
  options: ReadonlyMap<string, readonly string[]>,
  body: Buffer,
) {
  // The sidecar takes POST for any call, and then GET is what it sends unless the request says otherwise.
  const wanted = (options.get("httpmethod")?.[0] ?? (method === "POST" ? "GET" : method)).toUpperCase();
  if (!DOWNSTREAM_METHODS.includes(wanted))
    throw malformed("http_method", "optionsOverride.HttpMethod is no method that is sent to an API.");
  if (body.length > 0 && wanted === "GET")
    throw malformed("http_method", "A body goes with another method: name it in optionsOverride.HttpMethod.");
  const path = options.get("relativepath")?.[0] ?? "";
  const send = client[wanted.toLowerCase() as "get" | "post" | "put" | "patch" | "delete"];
  return send(path.startsWith("/") ? path : `/${path}`, {
    ...(body.length > 0 && {
      body,
      headers: { "content-type": headers["content-type"] ?? "application/octet-stream" },
    }),
  });
}

/** Undefined for content that is no text: a picture, read as text, would be lost. */
function textOf(content: Uint8Array, contentType: string): string | undefined {
  const isText =
    content.length === 0 || /^(?:text\/|[^;]*(?:json|xml|javascript|form-urlencoded))/i.test(contentType);
  if (!isText) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return undefined;
  }
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}
