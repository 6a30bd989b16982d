/** One request to the token endpoint, read but not judged. */

import { randomUUID } from "node:crypto";
import type { Request } from "express";
import { isObject } from "../jws.ts";
import type { Cloud, Clouds } from "./clouds.ts";
import { EntraRefusal } from "./refusal.ts";

export interface TokenForm {
  readonly cloud: Cloud;
  /** As it stood in the URL. */
  readonly tenantSegment: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly duplicates: readonly string[];
  /** Of HTTP Basic authentication, form-decoded (RFC 6749 §2.3.1). */
  readonly basic: { readonly clientId: string; readonly secret: string } | undefined;
  /** The `Origin` header: a browser sends it with a request from a page of another origin. */
  readonly origin: string | undefined;
  readonly correlationId: string;
  readonly traceId: string;
  readonly echoCorrelationId: boolean;
}

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function readTokenRequest(request: Request, clouds: Clouds): TokenForm {
  const body: unknown = request.body;
  const parameters = new Map<string, string>();
  const duplicates: string[] = [];
  for (const [name, value] of Object.entries(isObject(body) ? body : {})) {
    if (typeof value === "string") parameters.set(name, value);
    else duplicates.push(name);
  }
  const echo = [request.get("return-client-request-id"), parameters.get("return-client-request-id")];
  return {
    cloud: clouds.ofHost(request.get("host")),
    tenantSegment: String(request.params.tenant),
    parameters,
    duplicates,
    basic: readBasic(request.get("authorization")),
    origin: request.get("origin"),
    correlationId: correlationOf(request, parameters.get("client-request-id")),
    traceId: randomUUID(),
    echoCorrelationId: echo.some((value) => value?.toLowerCase() === "true"),
  };
}

/** A client names it in a header, in the form or in the query. */
export function correlationOf(request: Request, ofForm: string | undefined): string {
  const ids = [request.get("client-request-id"), ofForm, request.query["client-request-id"]];
  return ids.find((id): id is string => typeof id === "string" && GUID.test(id)) ?? randomUUID();
}

function readBasic(header: string | undefined): TokenForm["basic"] {
  const credentials = /^basic ([A-Za-z0-9+/=]+)$/i.exec(header ?? "")?.[1];
  if (credentials === undefined) return undefined;
  const text = Buffer.from(credentials, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) return undefined;
  const decode = (part: string) => decodeURIComponent(part.replaceAll("+", " "));
  return { clientId: decode(text.slice(0, colon)), secret: decode(text.slice(colon + 1)) };
}

/** @throws {EntraRefusal} 900144 when it is missing or blank. */
export function required(form: TokenForm, name: string): string {
  const value = form.parameters.get(name);
  if (value === undefined || value.trim() === "") throw new EntraRefusal(900144, `'${name}'`);
  return value;
}

/** Entra looks at the presence of the header, as users of other tools have found. */
export function isCrossOrigin({ origin }: TokenForm): boolean {
  return origin !== undefined;
}

export function isGuid(value: string): boolean {
  return GUID.test(value);
}

export function requestedScopes(form: TokenForm): string[] {
  return (form.parameters.get("scope") ?? "").split(/\s+/).filter((scope) => scope !== "");
}

/** The `access_token` member of the `claims` parameter; an unparsable one is refused. */
export function requestedClaims(form: TokenForm): Readonly<Record<string, unknown>> {
  const text = form.parameters.get("claims");
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return isObject(value.access_token) ? value.access_token : {};
  } catch {
    // Falls through to the refusal.
  }
  throw new EntraRefusal(900144, "'claims' is not a JSON object");
}
