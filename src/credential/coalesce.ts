/** Lets any number of callers share one run at a time, without anyone getting a run that is older than the question. */

interface Turn {
  force: boolean;
  readonly done: Promise<void>;
}

/**
 * Wraps `run` so that at most one is under way and at most one waits behind it. A caller during a run joins
 * the one after it: the run under way may have looked before the change that the caller already knows of.
 * A joined run is forced when any of its callers asked for that.
 */
export function coalesce(run: (force: boolean) => Promise<void>): (force: boolean) => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Turn | undefined;

  function begin(force: boolean): Promise<void> {
    const turn = run(force).finally(() => {
      if (next === undefined) running = undefined;
    });
    running = turn;
    return turn;
  }

  return (force) => {
    if (running === undefined) return begin(force);
    if (next !== undefined) {
      next.force ||= force;
      return next.done;
    }
    const follow = (): Promise<void> => {
      next = undefined;
      return begin(turn.force);
    };
    const turn: Turn = { force, done: running.then(follow, follow) };
    next = turn;
    return turn.done;
  };
}
