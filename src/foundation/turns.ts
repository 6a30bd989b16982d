/** Turns of the event loop, shared among users: one who has much for the gateway to do at once does not hold up the others. */

/** Begins a request, or goes on with one; `waitedMs` is how long that waited for its turn. */
export type Beginning = (waitedMs: number) => void;

export interface Turns {
  /** Whether work may begin at once: none waits, and this turn of the event loop has time left. */
  isFree(): boolean;
  /**
   * Begins a piece of work in a later turn.
   *
   * @param owner User whose token has been verified before. Work for everybody else shares the turns of one user.
   */
  wait(owner: string | undefined, begin: Beginning): void;
  /** Resolves in a later turn: work that takes long pauses so every millisecond. */
  pause(owner: string | undefined): Promise<void>;
  /** Takes note that a connection has been accepted. */
  accepted(): void;
}

/**
 * For how long work begins in one turn of the event loop, ms; what is read and new connections have theirs in between. A
 * request takes some five turns, each with the time of work that begins at once and of work that has waited.
 */
const TURN_MS = 2;

/**
 * libuv accepts one connection in each turn of the event loop (since 1.45), so that turns full of work are what callers with
 * a new connection wait for. For so long after two connections that came as close to each other, ms, a turn begins one piece.
 */
const ACCEPTING_MS = 10;

/** Bytes whose way through the process takes time that counts: moving fewer is not worth a look at the clock. */
export const LARGE_PIECE = 16_384;

interface Waiting {
  readonly begin: Beginning;
  readonly since: number;
  next: Waiting | undefined;
}

/** In the order of arrival. A list of links, since an array of thousands is moved whole for each that leaves it. */
interface Line {
  first: Waiting | undefined;
  last: Waiting | undefined;
}

/**
 * A request that begins costs the event loop up to half a millisecond before it waits for anything, and a chunk of an answer
 * that is rewritten a whole one. Hundreds that come in one read of all sockets would all be done before any other answer
 * moves on. Here work begins for `TURN_MS`, and the rest waits: a piece for each user in turn, and between any two of them
 * one for the callers who are not known yet. So a flood of tokens that are no tokens delays callers with new tokens, and
 * not those whose token is known.
 */
export function createTurns(now: () => number = () => performance.now()): Turns {
  const users = new Map<string, Line>();
  const strangers: Line = { first: undefined, last: undefined };
  let waiting = 0;
  let isScheduled = false;
  let hasBegun = false;
  let turnBegan = 0;
  let acceptedAt = Number.NEGATIVE_INFINITY;
  let acceptedBefore = Number.NEGATIVE_INFINITY;
  let isStrangersTurn = false;

  function hasTime(): boolean {
    const time = now();
    const isAccepting = time - acceptedAt < ACCEPTING_MS && acceptedAt - acceptedBefore < ACCEPTING_MS;
    return time - turnBegan < TURN_MS && !isAccepting;
  }

  function endTurn(): void {
    hasBegun = false;
  }

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(takeTurn);
  }

  function takeTurn(): void {
    isScheduled = false;
    turnBegan = now();
    beginNext();
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
    if (waiting > 0) queueMicrotask(() => process.nextTick(goOn));
  }

  function goOn(): void {
    if (hasTime()) beginNext();
    else schedule();
  }

  function nextWaiting(): Waiting | undefined {
    isStrangersTurn = !isStrangersTurn;
    const [known] = users;
    if (strangers.first !== undefined && (isStrangersTurn || known === undefined)) return leave(strangers);
    if (known === undefined) return undefined;
    const [user, line] = known;
    const next = leave(line);
    // At the end of the map, behind every other user who has a request that waits.
    users.delete(user);
    if (line.first !== undefined) users.set(user, line);
    return next;
  }

  const turns: Turns = {
    isFree() {
      if (waiting > 0) return false;
      if (hasBegun) return hasTime();
      hasBegun = true;
      turnBegan = now();
      setImmediate(endTurn);
      return true;
    },
    wait(owner, begin) {
      const one: Waiting = { begin, since: now(), next: undefined };
      if (owner === undefined) join(strangers, one);
      else {
        let line = users.get(owner);
        if (line === undefined) {
          line = { first: undefined, last: undefined };
          users.set(owner, line);
        }
        join(line, one);
      }
      waiting += 1;
      schedule();
    },
    accepted() {
      acceptedBefore = acceptedAt;
      acceptedAt = now();
    },
    pause: (owner) => new Promise((resolve) => turns.wait(owner, () => resolve())),
  };
  return turns;
}

/** Of the event loop of this process. */
export const loopTurns: Turns = createTurns();

function join(line: Line, one: Waiting): void {
  if (line.last === undefined) line.first = one;
  else line.last.next = one;
  line.last = one;
}

function leave(line: Line): Waiting | undefined {
  const one = line.first;
  line.first = one?.next;
  if (line.first === undefined) line.last = undefined;
  return one;
}
