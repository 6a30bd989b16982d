/** RFC 9728 protected-resource metadata: tells a client that discovers the gateway where to get a token for it. */

import type { RequestHandler } from "express";

export interface ResourceFacts {
  /** The gateway as callers reach it, the RFC's `resource` identifier. */
  readonly publicUrl: string;
  /** Issuers whose tokens are accepted. */
  readonly authorizationServers: readonly string[];
  /** Scopes that some route asks for, as clients request them. */
  readonly scopes: readonly string[];
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
