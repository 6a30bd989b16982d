/** How the authorize endpoint answers the client: in the query, in the fragment, or by a form that posts itself. */

import { randomUUID } from "node:crypto";
import type { Response } from "express";
import type { ReplyAddress } from "./authorize-request.ts";
import type { Cloud } from "./clouds.ts";
import { formPostPage } from "./pages.ts";
import { type EntraRefusal, refusalAnswer } from "./refusal.ts";

/** Codes whose `error` at the authorize endpoint is another than at the token endpoint; D documented, M from memory. */
const ERRORS_HERE: Readonly<Record<number, string>> = {
  // D
  65004: "access_denied",
  // M
  50105: "access_denied",
  65001: "consent_required",
  90094: "access_denied",
  90095: "access_denied",
  50034: "access_denied",
  50057: "access_denied",
  700016: "unauthorized_client",
};

/** Refusals that come from the user's own "Cancel". */
const CANCELLED: readonly number[] = [65004];

export function answerClient(
  response: Response,
  { redirect, responseMode, state }: Pick<ReplyAddress, "redirect" | "responseMode" | "state">,
  answer: Readonly<Record<string, string | undefined>>,
): void {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...answer, state })) {
    if (value !== undefined) parameters.set(name, value);
  }
  response.set("Cache-Control", "no-store, no-cache");
  if (responseMode === "form_post") {
    formPostPage(response, redirect.uri, [...parameters]);
    return;
  }
  response.redirect(302, withParameters(redirect.uri, responseMode, parameters));
}

/** The members of a refusal as they stand in a redirect. */
export function refusalParameters(
  error: EntraRefusal,
  about: { readonly at: number; readonly cloud: Cloud; readonly correlationId: string },
): Record<string, string | undefined> {
  const { body } = refusalAnswer(error, {
    traceId: randomUUID(),
    correlationId: about.correlationId,
    at: about.at,
    authorityHost: about.cloud.authorityHost,
  });
  const text = (name: string) => (typeof body[name] === "string" ? body[name] : undefined);
  return {
    error: error.wording.error ?? ERRORS_HERE[error.code] ?? text("error"),
    error_description: text("error_description"),
    error_uri: text("error_uri"),
    error_subcode: CANCELLED.includes(error.code) ? "cancel" : undefined,
    suberror: text("suberror"),
    claims: text("claims"),
  };
}

function withParameters(uri: string, mode: "query" | "fragment", parameters: URLSearchParams): string {
  if (mode === "fragment") return `${uri}#${parameters}`;
  return `${uri}${uri.includes("?") ? "&" : "?"}${parameters}`;
}
