/** RFC 9728 protected-resource metadata: tells a client that discovers the gateway where to get a token for it. */

import type { RequestHandler } from "express";
import type { RoutePolicy } from "../identity/contract.ts";

export interface ResourceFacts {
  /** The gateway as callers reach it, the RFC's `resource` identifier. */
  readonly publicUrl: string;
  /** Issuers whose tokens are accepted. */
  readonly authorizationServers: readonly string[];
  /** Scopes that some route asks for, as clients request them. */
  readonly scopes: readonly string[];
}

/** From what the document follows. */
export interface ResourceOptions {
  readonly publicUrl: string;
  /** Tenants whose users may call; `*` is any. */
  readonly tenants: readonly string[];
  /** Issuer of a tenant's tokens. */
  readonly issuer: (tenant: string) => string;
  /** App ID URI, before which a route's scope is qualified. */
  readonly appIdUri: string;
  readonly policies: readonly Pick<RoutePolicy, "requiredScopes">[];
}

export function resourceFacts({
  publicUrl,
  tenants,
  issuer,
  appIdUri,
  policies,
}: ResourceOptions): ResourceFacts {
  const scopes = new Set(policies.flatMap(({ requiredScopes }) => requiredScopes));
  return {
    publicUrl,
    authorizationServers: (tenants.includes("*") ? ["organizations"] : tenants).map(issuer),
    scopes: [...scopes].map((scope) => `${appIdUri}/${scope}`),
  };
}

const WELL_KNOWN = "/.well-known/oauth-protected-resource";

/** URL of the document for a resource: the well-known segment goes between host and path (RFC 9728 §3.1). */
export function metadataUrl(publicUrl: string): string {
  const { origin, pathname } = new URL(publicUrl);
  return `${origin}${WELL_KNOWN}${pathname === "/" ? "" : pathname}`;
}

/** Serves the document to anybody: it says nothing that a challenge would not. */
export function protectedResource(facts: ResourceFacts, say: RequestHandler): RequestHandler {
  const paths = new Set([WELL_KNOWN, new URL(metadataUrl(facts.publicUrl)).pathname]);
  const document = {
    resource: facts.publicUrl,
    authorization_servers: facts.authorizationServers,
    scopes_supported: facts.scopes,
    bearer_methods_supported: ["header"],
  };
  return (request, response, next) => {
    if (!paths.has(request.path) || (request.method !== "GET" && request.method !== "HEAD")) {
      next();
      return;
    }
    say(request, response, () => {
      response.setHeader("cache-control", "public, max-age=3600");
      response.json(document);
    });
  };
}
