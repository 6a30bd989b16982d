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
  /** Takes so many ms off this turn: for a piece that begins at once and has its work in the next, as a chunk that is read then. */
  spend(ms: number): void;
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
 * left hundreds in line, among them callers who wait for nothing else: what those wait for is how long such turns are. In a
 * row of them a turn begins one piece of work for users who wait for little, and in so many turns one for all others: what a
 * piece leads to, as an exchange with a TLS connection of its own, takes milliseconds in turns to come.
 */
const TURNS_OF_REST = 32;

/**
 * Where so many turns in a row have accepted one, more wait than a page opens: a flood, or the callers of an instance that
 * has gone.
 */
const POURING = 8;

/** A user for whom no more than so many pieces of work wait, waits for little: a page opens six connections. */
const FEW = 8;

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
  readonly name: string;
  first: Waiting | undefined;
  last: Waiting | undefined;
  size: number;
}

/** Lines, of which the one that gave its first longest ago gives its first next. */
type Lines = Map<string, Line>;

function join(line: Line, one: Waiting): void {
  if (line.last === undefined) line.first = one;
  else line.last.next = one;
  line.last = one;
  line.size += 1;
}

function leave(line: Line): Waiting | undefined {
  const one = line.first;
  if (one === undefined) return undefined;
  line.first = one.next;
  if (line.first === undefined) line.last = undefined;
  one.next = undefined;
  line.size -= 1;
  return one;
}

/** The line whose turn it is, which is none of them from now on. */
function takeFirst(lines: Lines): Line | undefined {
  for (const [name, line] of lines) {
    lines.delete(name);
    return line;
  }
  return undefined;
}

function emptyLine(name: string): Line {
  return { name, first: undefined, last: undefined, size: 0 };
}

/**
 * Users who are known: those with few pieces of work that wait, and those with many, each in turn. Which a user is shows how
 * much of what waits is his, over all of his connections: of a pipeline, one request at a time waits.
 */
function createUsers() {
  const few: Lines = new Map();
  const many: Lines = new Map();

  function next(lines: Lines): Waiting | undefined {
    const line = takeFirst(lines);
    if (line === undefined) return undefined;
    const one = leave(line);
    if (line.size > FEW) many.set(line.name, line);
    else if (line.size > 0) few.set(line.name, line);
    return one;
  }

  return {
    join(one: Waiting): void {
      const line = few.get(one.name) ?? many.get(one.name) ?? emptyLine(one.name);
      join(line, one);
      if (line.size === 1) few.set(line.name, line);
      else if (line.size === FEW + 1 && few.delete(line.name)) many.set(line.name, line);
    },
    nextOfFew: () => next(few),
    nextOfMany: () => next(many),
  };
}

/**
 * Callers who are not known take turns by whom they claim to be, so that one who sends a thousand new tokens of one user does
 * not stand in front of another user's first. But a claim costs nothing, and a line of them may be in the way of the user it
 * speaks of, with other lines without end: so between two of these turns the one has its turn that has waited longest of all.
 */
function createStrangers() {
  const claims: Lines = new Map();
  let oldest: Waiting | undefined;
  let newest: Waiting | undefined;
  let isOldestsTurn = false;

  function nextByClaim(): Waiting | undefined {
    const line = takeFirst(claims);
    const one = line && leave(line);
    if (line !== undefined && line.size > 0) claims.set(line.name, line);
    return one;
  }

  /** What came first of all is the first of its line as well. */
  function leaveAsOldest({ name }: Waiting): Waiting | undefined {
    const line = claims.get(name);
    const one = line && leave(line);
    if (line?.size === 0) claims.delete(name);
    return one;
  }

  return {
    isEmpty: () => claims.size === 0,
    join(one: Waiting): void {
      const line = claims.get(one.name) ?? emptyLine(one.name);
      join(line, one);
      if (line.size === 1) claims.set(line.name, line);
      if (newest === undefined) oldest = one;
      else newest.later = one;
      newest = one;
    },
    next(): Waiting | undefined {
      isOldestsTurn = !isOldestsTurn;
      const one = isOldestsTurn && oldest !== undefined ? leaveAsOldest(oldest) : nextByClaim();
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
 * moves on. Here work begins for `TURN_MS`, and the rest waits. In each turn the users who wait for little come first, one
 * piece of each at a time; then one piece at least, however long the others took, in turn of a user who waits for much or of a
 * caller who is not known. So neither a user with a flood of requests nor a flood of tokens that are none delays a user whose
 * token is known.
 */
export function createTurns(now: () => number = () => performance.now()): Turns {
  const users = createUsers();
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
  /** Whether this turn of the event loop begins one piece of work at most. */
  let isAccepting = false;
  /** How many more turns of such a row begin work of users who wait for little alone. */
  let rest = 0;
  let isStrangersTurn = false;
  /** Whether this turn has begun what it owes the others; and whether it has begun work of one who is not known. */
  let hasBegunOther = false;
  let hasBegunStrangers = false;

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
    hasBegunStrangers = false;
    isAccepting = hasAccepted;
    hasAccepted = false;
    rest = isAccepting && rest > 0 ? rest - 1 : 0;
    hasBegunOther = false;
    beginNext();
  }

  /**
   * Microtasks of a request that has begun run before the next one does, so that the time they take counts: the verification
   * of a token is among them. A tick alone would run ahead of them.
   */
  function beginNext(): void {
    const next = nextWaiting();
    if (next === undefined) {
      if (waiting > 0) schedule();
      return;
    }
    waiting -= 1;
    next.begin(now() - next.since);
    if (waiting > 0) queueMicrotask(() => process.nextTick(goOn));
  }

  function goOn(): void {
    if (isAccepting) schedule();
    else beginNext();
  }

  function nextWaiting(): Waiting | undefined {
    if (isAccepting) return rest > 0 ? users.nextOfFew() : (nextOfOthers() ?? users.nextOfFew());
    const hasTime = now() - turnBegan < TURN_MS;
    const next = hasTime ? users.nextOfFew() : undefined;
    if (next !== undefined) return next;
    if (!hasBegunOther) return nextOfOthers();
    return hasTime ? (users.nextOfMany() ?? nextStranger()) : undefined;
  }

  function nextOfOthers(): Waiting | undefined {
    hasBegunOther = true;
    isStrangersTurn = !isStrangersTurn;
    const next = isStrangersTurn
      ? (nextStranger() ?? users.nextOfMany())
      : (users.nextOfMany() ?? nextStranger());
    if (next !== undefined) rest = TURNS_OF_REST;
    return next;
  }

  /** One in a turn: a new token leads to a verification, an exchange, and a connection for it. */
  function nextStranger(): Waiting | undefined {
    if (hasBegunStrangers || strangers.isEmpty()) return undefined;
    hasBegunStrangers = true;
    return strangers.next();
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
    spend(ms) {
      turnBegan -= ms;
    },
    pause: (owner) => new Promise((resolve) => turns.wait(owner, () => resolve())),
  };
  return turns;
}

/** Of the event loop of this process. */
export const loopTurns: Turns = createTurns();
