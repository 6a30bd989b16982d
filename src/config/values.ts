/** Values that stand in more than one setting, or need more than one rule. */

import { GUID } from "../foundation/patterns.ts";
import { z } from "./zod.ts";

/** The id that examples show where an operator has to put one. */
const NIL_GUID = "00000000-0000-0000-0000-000000000000";

/** A GUID as Entra writes tenant and client ids; kept in lower case, since `tid` and `azp` are compared exactly. */
export const guid = z
  .string()
  .regex(GUID, "must be a GUID such as 11111111-2222-3333-4444-555555555555")
  .refine(
    (value) => value !== NIL_GUID,
    "is still the placeholder of zeros; put the id from the registration here",
  )
  .transform((value) => value.toLowerCase());

/** Both ends included. */
export const wholeNumber = (minimum: number, maximum: number) => z.number().int().min(minimum).max(maximum);

export const nonEmpty = z.string().min(1, "must not be empty");

/** RFC 6749 §3.3 `scope-token`: also what may stand in a challenge's `scope` without ending it. */
export const scope = z
  .string()
  .regex(/^[\x21\x23-\x5B\x5D-\x7E]+$/, "must be one scope: ASCII without blanks, quotes and backslashes");

/** A browser's `Origin` is compared letter by letter; another spelling would be a setting without effect. */
const plainOrigin = z
  .string()
  .refine(
    (value) => /^https?:[^*]*$/.test(value) && URL.canParse(value) && new URL(value).origin === value,
    "must be an origin as browsers send it, such as https://app.example: no path, no trailing slash, no *",
  );

const WILDCARD = /^(https?:\/\/)\*\.([^.:*]+\.[^:*]+(?::\d+)?)$/;

/** `*` may stand for the leftmost label of a host with two more: `https://*.example` would let in sites of every registrant. */
const originsOfDomain = z.string().refine((value) => {
  const [, scheme, host] = WILDCARD.exec(value) ?? [];
  const written = `${scheme}x.${host}`;
  return scheme !== undefined && URL.canParse(written) && new URL(written).origin === written;
}, "may hold * for one leftmost label alone, with a domain of two labels or more behind it, such as https://*.app.example");

export const origin = z.string().superRefine((value, context) => {
  const { error } = (value.includes("//*") ? originsOfDomain : plainOrigin).safeParse(value);
  if (error !== undefined) context.addIssue(error.issues[0]?.message ?? "");
});

/** RFC 9110 §5.1. */
export const fieldName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, "must be the name of a header field")
  .refine(
    (value) => value !== "*",
    "must be the name of a header field: * exposes nothing that is not named",
  );

/** A pattern of paths of an API; `compilePathPatterns` reads it. */
export const pathPattern = z
  .string()
  .regex(
    /^(?=\/)(?:\/(?:\*{1,2}|(?!\.{1,2}(?:\/|$))[^/*%?#\\]+(?:\([^/%?#\\]*\))?))*\/?$/,
    "must start with / and be a plain, decoded path in which * and ** stand for whole segments",
  );
