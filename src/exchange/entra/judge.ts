/** Judges a token endpoint's answer: a usable token, or a refusal with its reason. */

import { type BoundedResponse, FetchFailure } from "../../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../../foundation/json.ts";
import { Secret } from "../../foundation/secret.ts";
import { createRefusals, type Refusal, type RefusalOptions, type RefusedExchange } from "./refusals.ts";

export type Judgement =
  | { readonly outcome: "granted"; readonly accessToken: Secret; readonly expiresInSeconds: number }
  | { readonly outcome: "refused"; readonly refusal: Refusal };

export interface Judge {
  answer(exchange: RefusedExchange, answer: BoundedResponse): Judgement;
  /** A failure to obtain any answer. Whatever else was thrown is thrown on. */
  failure(cause: unknown): Judgement;
}

/** RFC 6750 §2.1 `b64token`: what may stand in an Authorization header, and nothing that could end it early. */
const BEARER_TOKEN = /^[\w.~+/-]+=*$/;

export function createJudge(options: RefusalOptions): Judge {
  const { refusalOf, unusable, silence } = createRefusals(options);

  return {
    answer(exchange, { status, headers, text }) {
      const answer = { status, headers, body: parseJsonObject(text) };
      if (status < 200 || status > 299) return refused(refusalOf(exchange, answer));

      const { access_token: accessToken, token_type: type, expires_in: lifetime } = answer.body ?? {};
      const expiresInSeconds = parseLifetime(lifetime);
      if (typeof accessToken !== "string" || !BEARER_TOKEN.test(accessToken)) {
        return refused(unusable(exchange, answer, "access_token_absent"));
      }
      // Case-insensitive by RFC 6749 §5.1.
      if (typeof type !== "string" || type.toLowerCase() !== "bearer") {
        return refused(unusable(exchange, answer, "token_type"));
      }
      if (expiresInSeconds === undefined) return refused(unusable(exchange, answer, "expires_in"));
      return { outcome: "granted", accessToken: new Secret(accessToken), expiresInSeconds };
    },

    failure(cause) {
      if (cause instanceof FetchFailure) return refused(silence(cause));
      throw cause;
    },
  };
}

function refused(refusal: Refusal): Judgement {
  return { outcome: "refused", refusal };
}

/** RFC 6749 §5.1 has a number; Entra's v1 endpoints send its digits as a string. Zero is no lifetime. */
function parseLifetime(value: unknown): number | undefined {
  const seconds = typeof value === "string" && /^\d{1,9}$/.test(value) ? Number(value) : value;
  return typeof seconds === "number" && Number.isFinite(seconds) && seconds > 0 ? seconds : undefined;
}
