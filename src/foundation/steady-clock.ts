/** A clock that never goes back, made of one that may be set. */

/**
 * Goes on from where it was when the other clock is set back, so that what was to last for seconds does not begin anew and
 * last for as long as the clock was set back.
 *
 * @param now Milliseconds since the epoch, as the host has it.
 */
export function createSteadyClock(now: () => number): () => number {
  let latest = Number.NEGATIVE_INFINITY;
  let setBackMs = 0;
  return () => {
    const time = now() + setBackMs;
    if (time < latest) setBackMs += latest - time;
    latest = Math.max(latest, time);
    return latest;
  };
}
