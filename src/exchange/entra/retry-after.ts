/** The Retry-After field (RFC 9110 §10.2.3), in both of its forms. */

/** Longest wait believed, seconds. A slip of the authority must not shut anybody out for a day. */
const LONGEST_SECONDS = 3600;
/** RFC 9110 §5.6.7 IMF-fixdate, the one form that may still be generated. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Seconds to wait as of `now` (ms since the epoch), at least 1; undefined when the field is absent or means nothing. */
export function parseRetryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  const seconds = /^\d{1,9}$/.test(value)
    ? Number(value)
    : HTTP_DATE.test(value)
      ? Math.ceil((Date.parse(value) - now) / 1000)
      : Number.NaN;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 1), LONGEST_SECONDS);
}
