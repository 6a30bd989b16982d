/** Turns of the event loop, shared among users: one who has much for the gateway to do at once does not hold up the others. */

/** Begins a request, or goes on with one; `waitedMs` is how long that waited for its turn. */
export type Beginning = (waitedMs: number) => void;

export interface Turns {
  /** Whether work may begin at once: none waits, and this turn of the event loop has time left. */
  isFree(): boolean;
  /**
   * Begins a piece of work in a later turn.
   *
   * @param owner User whose token has been verified before. Work for everybody else shares every other turn.
   * @param claimed Where there is no such user: the one that the caller's token speaks of. Those take turns as well.
   */
  wait(owner: string | undefined, begin: Beginning, claimed?: string): void;
  /** Resolves in a later turn: work that takes long pauses so every millisecond. */
  pause(owner: string | undefined): Promise<void>;
  /** Takes note that a connection has been accepted, and says whether connections pour in. */
  accepted(): boolean;
}

/**
 * For how long work begins in one turn of the event loop, ms; what is read and new connections have theirs in between. A
 * request takes some five turns, each with the time of work that begins at once and of work that has waited.
 */
const TURN_MS = 2;

/**
 * libuv accepts one connection in each turn of the event loop (since 1.45), so that a turn which has accepted one may have
 * left hundreds in line, among them callers who wait for nothing else: what those wait for is how long such turns are. After
 * a piece of work they begin none for so many times as long as that took.
 */
const REST_TIMES = 2;

/**
 * Where so many turns in a row have accepted one, more wait than a page opens: a flood, or the callers of an instance that
 * has gone.
 */
const POURING = 8;

/** Bytes whose way through the process takes time that counts: moving fewer is not worth a look at the clock. */
export const LARGE_PIECE = 16_384;

interface Waiting {
  /** Of the line that it stands in. */
  readonly name: string;
  readonly since: number;
  readonly begin: Beginning;
  hasBegun: boolean;
  /** The one behind it in its line. */
  next: Waiting | undefined;
  /** Of callers who are not known: the one that came next, in whichever line. */
  later: Waiting | undefined;
}

/** In the order of arrival. A list of links, since an array of thousands is moved whole for each that leaves it. */
interface Line {
  first: Waiting;
  last: Waiting;
}

/** Lines of which one after the other gives the first that waits in it. */
function createRotation() {
  const lines = new Map<string, Line>();
  const rotation = {
    isEmpty: () => lines.size === 0,
    join(one: Waiting): void {
      const line = lines.get(one.name);
      if (line === undefined) lines.set(one.name, { first: one, last: one });
      else {
        line.last.next = one;
        line.last = one;
      }
    },
    /** The first of the line whose turn it is. */
    next(): Waiting | undefined {
      const [name] = lines.keys();
      if (name === undefined) return undefined;
      const line = lines.get(name);
      const one = rotation.leave(name);
      // At the end of the map, behind every other line.
      if (line !== undefined && lines.delete(name)) lines.set(name, line);
      return one;
    },
    /** The first of this line, ahead of the line's turn. */
    leave(name: string): Waiting | undefined {
      const line = lines.get(name);
      const one = line?.first;
      if (line === undefined || one === undefined) return undefined;
      if (one.next === undefined) lines.delete(name);
      else line.first = one.next;
      one.next = undefined;
      return one;
    },
  };
  return rotation;
}

/**
 * Callers who are not known take turns by whom they claim to be, so that one who sends a thousand new tokens of one user does
 * not stand in front of another user's first. But a claim costs nothing, and a line of them may be in the way of the user it
 * speaks of, with other lines without end: so between two of these turns the one has its turn that has waited longest of all.
 */
function createStrangers() {
  const claims = createRotation();
  let oldest: Waiting | undefined;
  let newest: Waiting | undefined;
  let isOldestsTurn = false;
  return {
    isEmpty: claims.isEmpty,
    join(one: Waiting): void {
      claims.join(one);
      if (newest === undefined) oldest = one;
      else newest.later = one;
      newest = one;
    },
    next(): Waiting | undefined {
      isOldestsTurn = !isOldestsTurn;
      // The one that came first of all is the first of its line as well.
      const one = isOldestsTurn && oldest !== undefined ? claims.leave(oldest.name) : claims.next();
      if (one !== undefined) one.hasBegun = true;
      while (oldest?.hasBegun === true) oldest = oldest.later;
      if (oldest === undefined) newest = undefined;
      return one;
    },
  };
}

/**
 * A request that begins costs the event loop up to half a millisecond before it waits for anything, and a chunk of an answer
 * that is rewritten a whole one. Hundreds that come in one read of all sockets would all be done before any other answer
 * moves on. Here work begins for `TURN_MS`, and the rest waits: a piece for each user in turn, and between any two of them
 * one for the callers who are not known yet. So a flood of tokens that are no tokens delays callers with new tokens, and
 * not those whose token is known.
 */
export function createTurns(now: () => number = () => performance.now()): Turns {
  const users = createRotation();
  const strangers = createStrangers();
  let waiting = 0;
  let isScheduled = false;
  let hasBegun = false;
  let turnBegan = 0;
  /** Turns of the event loop that have accepted a connection, one right after the other, without this one. */
  let acceptedInRow = 0;
  let isCounting = false;
  let isCounted = true;
  /** Whether a connection was accepted in such a row since work was looked at. */
  let hasAccepted = false;
  /** Whether this turn of the event loop begins one piece of work. */
  let isAccepting = false;
  let restsUntil = Number.NEGATIVE_INFINITY;
  let isStrangersTurn = false;

  function endTurn(): void {
    hasBegun = false;
  }

  /** Runs at the end of each turn of a row, and of the one behind it. */
  function countTurn(): void {
    if (isCounted) {
      acceptedInRow = 0;
      hasAccepted = false;
      isCounting = false;
      return;
    }
    acceptedInRow += 1;
    isCounted = true;
    setImmediate(countTurn);
  }

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(takeTurn);
  }

  function takeTurn(): void {
    isScheduled = false;
    turnBegan = now();
    isAccepting = hasAccepted;
    hasAccepted = false;
    if (isAccepting && turnBegan < restsUntil) schedule();
    else beginNext();
  }

  /**
   * Microtasks of a request that has begun run before the next one does, so that the time they take counts: the verification
   * of a token is among them. A tick alone would run ahead of them.
   */
  function beginNext(): void {
    const next = nextWaiting();
    if (next === undefined) return;
    waiting -= 1;
    next.begin(now() - next.since);
    if (waiting > 0 || isAccepting) queueMicrotask(() => process.nextTick(goOn));
  }

  function goOn(): void {
    const time = now();
    if (isAccepting) restsUntil = time + REST_TIMES * (time - turnBegan);
    if (waiting === 0) return;
    if (isAccepting || time - turnBegan >= TURN_MS) schedule();
    else beginNext();
  }

  function nextWaiting(): Waiting | undefined {
    isStrangersTurn = !isStrangersTurn;
    if (!strangers.isEmpty() && (isStrangersTurn || users.isEmpty())) return strangers.next();
    return users.next();
  }

  const turns: Turns = {
    isFree() {
      if (waiting > 0 || hasAccepted) return false;
      if (hasBegun) return now() - turnBegan < TURN_MS;
      hasBegun = true;
      turnBegan = now();
      setImmediate(endTurn);
      return true;
    },
    wait(owner, begin, claimed = "") {
      const one: Waiting = {
        name: owner ?? claimed,
        since: now(),
        begin,
        hasBegun: false,
        next: undefined,
        later: undefined,
      };
      if (owner === undefined) strangers.join(one);
      else users.join(one);
      waiting += 1;
      schedule();
    },
    accepted() {
      isCounted = false;
      if (!isCounting) setImmediate(countTurn);
      isCounting = true;
      hasAccepted = acceptedInRow > 0;
      return acceptedInRow >= POURING;
    },
    pause: (owner) => new Promise((resolve) => turns.wait(owner, () => resolve())),
  };
  return turns;
}

/** Of the event loop of this process. */
export const loopTurns: Turns = createTurns();
