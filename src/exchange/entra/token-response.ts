/** Processes a response of the token endpoint: a usable token, or a refusal with its reason. */

import { type BoundedResponse, FetchFailure } from "../../foundation/bounded-fetch.ts";
import { createBoundedMap } from "../../foundation/bounded-map.ts";
import { parseJsonObject } from "../../foundation/json.ts";
import { Secret } from "../../foundation/secret.ts";
import { IDENTIFIER } from "./answers.ts";
import { createRefusals, type Refusal, type RefusalOptions, type RefusedExchange } from "./refusals.ts";

export type TokenOutcome =
  | {
      readonly outcome: "granted";
      readonly accessToken: Secret;
      readonly expiresInSeconds: number;
      readonly grantedScopes: readonly string[] | undefined;
      readonly refreshToken: Secret | undefined;
    }
  | { readonly outcome: "refused"; readonly refusal: Refusal };

export interface TokenResponses {
  process(exchange: RefusedExchange, response: BoundedResponse): TokenOutcome;
  /** A failure to obtain any response. Every other error is thrown on. */
  failure(cause: unknown): TokenOutcome;
}

/** RFC 6750 §2.1 `b64token`: what may stand in an Authorization header, and nothing that could end it early. */
const BEARER_TOKEN = /^[\w.~+/-]+=*$/;
/** RFC 6749 appendix A.17, of a length of which a delegation may keep two. */
const REFRESH_TOKEN = /^[\x20-\x7E]{1,16384}$/;
/** RFC 6749 §3.3 `scope`: tokens between single blanks. */
const SCOPE_LIST = /^[\x21\x23-\x5B\x5D-\x7E]+(?: [\x21\x23-\x5B\x5D-\x7E]+)*$/;
/** A longer list of scopes is not kept. */
const LONGEST_SCOPE_LIST = 4_096;
/** Different lists of scopes that are kept once for all tokens that have them. */
const MOST_SCOPE_LISTS = 256;

export function createTokenResponses(options: RefusalOptions): TokenResponses {
  const { refusalOf, unusable, silence } = createRefusals(options);
  // The users of an API are granted the same few lists, and a list for each token would take more than the token.
  const scopeLists = createBoundedMap<readonly string[]>({ maxEntries: MOST_SCOPE_LISTS });

  function scopesOf(value: unknown): readonly string[] | undefined {
    if (typeof value !== "string" || value.length > LONGEST_SCOPE_LIST || !SCOPE_LIST.test(value))
      return undefined;
    const known = scopeLists.get(value, 0);
    if (known !== undefined) return known;
    const scopes = Object.freeze(value.split(" "));
    scopeLists.set(value, scopes);
    return scopes;
  }

  return {
    process(exchange, { status, headers, text }) {
      const answer = { status, headers, body: parseJsonObject(text) };
      if (status < 200 || status > 299) return refused(refusalOf(exchange, answer));

      const { access_token: accessToken, token_type: type, expires_in: lifetime, scope } = answer.body ?? {};
      const { refresh_token: refreshToken } = answer.body ?? {};
      const expiresInSeconds = parseLifetime(lifetime);
      if (typeof accessToken !== "string" || !BEARER_TOKEN.test(accessToken)) {
        return refused(unusable(exchange, answer, "access_token_absent"));
      }
      // Case-insensitive by RFC 6749 §5.1.
      if (typeof type !== "string" || type.toLowerCase() !== "bearer") {
        return refused(unusable(exchange, answer, "token_type"));
      }
      if (expiresInSeconds === undefined) return refused(unusable(exchange, answer, "expires_in"));
      return {
        outcome: "granted",
        accessToken: new Secret(accessToken),
        expiresInSeconds,
        grantedScopes: scopesOf(scope),
        refreshToken:
          typeof refreshToken === "string" && REFRESH_TOKEN.test(refreshToken)
            ? new Secret(refreshToken)
            : undefined,
      };
    },

    failure(cause) {
      if (cause instanceof FetchFailure) return refused(silence(cause));
      throw cause;
    },
  };
}

function refused(refusal: Refusal): TokenOutcome {
  return { outcome: "refused", refusal };
}

/** RFC 6749 §5.1 has a number; Entra's v1 endpoints send its digits as a string. Zero is no lifetime. */
function parseLifetime(value: unknown): number | undefined {
  const seconds = typeof value === "string" && /^\d{1,9}$/.test(value) ? Number(value) : value;
  return typeof seconds === "number" && Number.isFinite(seconds) && seconds > 0 ? seconds : undefined;
}

/** Entra's `x-ms-request-id`, its own word for a trace id. */
export function requestIdOf(headers: Headers): string | undefined {
  const id = headers.get("x-ms-request-id");
  return id !== null && IDENTIFIER.test(id) ? id : undefined;
}
