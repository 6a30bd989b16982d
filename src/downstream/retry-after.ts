/** The pause that a downstream API asks for (RFC 9110 §10.2.3). */

/** RFC 9110 §5.6.7 IMF-fixdate, the one form that may still be generated. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Ms to wait as of `nowMs` (since the epoch), never negative; undefined when the field is absent or means nothing. */
export function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  return HTTP_DATE.test(value) ? Math.max(0, Date.parse(value) - nowMs) : undefined;
}
