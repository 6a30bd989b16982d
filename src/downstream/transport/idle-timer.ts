/** A timer that fires when nothing has happened for a while. */

export interface IdleTimer {
  /** Starts the wait anew, or for the first time. Cheap enough for every chunk. */
  restart(): void;
  stop(): void;
}

/** Calls `onIdle` when `restart` was called and then not again for `ms`. */
export function createIdleTimer(ms: number, onIdle: () => void): IdleTimer {
  let timer: NodeJS.Timeout | undefined;
  return {
    restart() {
      if (timer === undefined) timer = setTimeout(onIdle, ms);
      else timer.refresh();
    },
    stop() {
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
