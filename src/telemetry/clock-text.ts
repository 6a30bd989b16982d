/** The time as log lines write it, made once a millisecond at most. */

let shownMs = Number.NaN;
let shown = "";
let shownSecond = Number.NaN;
let prefix = "";

/** ISO 8601 in UTC with milliseconds, of ms since the epoch. */
export function isoTime(ms: number = Date.now()): string {
  if (ms === shownMs) return shown;
  const second = Math.floor(ms / 1000);
  if (second !== shownSecond) {
    shownSecond = second;
    prefix = new Date(second * 1000).toISOString().slice(0, 20);
  }
  const rest = ms - second * 1000;
  shownMs = ms;
  shown = `${prefix}${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}Z`;
  return shown;
}
