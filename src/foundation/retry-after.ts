/** The Retry-After field (RFC 9110 §10.2.3), in both of its forms. */

/** RFC 9110 §5.6.7 IMF-fixdate, the one form of a date that may still be generated. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Ms to wait as of `now` (ms since the epoch), never negative; undefined when the field is absent or cannot be read. */
export function parseRetryAfter(value: string | null | undefined, now: number): number | undefined {
  if (value === null || value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  if (!HTTP_DATE.test(value)) return undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
