/** Refetch budget: how often tokens with an unknown key id may have the keys read again. Callers choose the id they send. */

export interface RefetchTimings {
  /** Least time between two reads for unknown key ids, ms. */
  readonly unknownKeySpacingMs: number;
  /** Time in which the budget regains one read, ms. */
  readonly unknownKeyCooldownMs: number;
  /** Reads that may follow each other at that spacing. */
  readonly unknownKeyReads: number;
}

export interface RefetchBudget {
  /** Whether the keys may be read now for a token with this id. `sender` tells clients and users apart. */
  allows(keyId: string, sender: string): boolean;
  /** The read that was allowed brought the key: a rollover costs nothing. */
  found(): void;
  /** Ms until another id would be read for, at the latest. */
  waitMs(): number;
}

/** Senders of one id that make it look like a rollover rather than one caller's invention. */
const INDICATION = 3;
/** Ids followed at once, and characters of an id and of a sender that are looked at. */
const MOST_IDS = 256;
const LONGEST_TEXT = 128;

/**
 * A caller with one invented id a minute uses less than the budget regains, so a genuine rollover beside that caller is
 * read for at once. A flood uses the budget up; then an id is read for only when several clients or users bring it,
 * as all of them do after a rollover, and from a second budget of the same size, since senders can be invented as well.
 *
 * A clock that is set back ends every wait instead of stretching it.
 */
export function createRefetchBudget(now: () => number, timings: RefetchTimings): RefetchBudget {
  const { unknownKeySpacingMs: spacingMs, unknownKeyCooldownMs: refillMs, unknownKeyReads } = timings;
  const ordinary = createAllowance(unknownKeyReads, refillMs);
  const indicated = createAllowance(unknownKeyReads, refillMs);
  const senders = createSenders();
  let readAt = Number.NEGATIVE_INFINITY;
  let spent = ordinary;

  return {
    allows(keyId, sender) {
      const time = now();
      const isIndicated = senders.note(keyId, sender) >= INDICATION;
      const elapsed = time - readAt;
      if (elapsed >= 0 && elapsed < spacingMs) return false;
      if (ordinary.take(time)) spent = ordinary;
      else if (isIndicated && indicated.take(time)) spent = indicated;
      else return false;
      // One read answers for the id; those who sent it have to gather anew.
      senders.forget(keyId);
      readAt = time;
      return true;
    },
    found: () => spent.giveBack(),
    waitMs() {
      const time = now();
      return Math.max(spacingMs - Math.max(0, time - readAt), ordinary.waitMs(time), 0);
    },
  };
}

/** A number of uses, of which one comes back after each period. */
function createAllowance(most: number, periodMs: number) {
  let left = most;
  let since = Number.NEGATIVE_INFINITY;

  function refill(time: number): void {
    const periods = periodMs === 0 ? most : Math.floor((time - since) / periodMs);
    if (time < since || left + periods >= most) {
      left = most;
      since = time;
    } else {
      left += periods;
      since += periods * periodMs;
    }
  }

  return {
    take(time: number): boolean {
      refill(time);
      if (left < 1) return false;
      left -= 1;
      return true;
    },
    giveBack(): void {
      left = Math.min(most, left + 1);
    },
    waitMs(time: number): number {
      refill(time);
      return left >= 1 ? 0 : since + periodMs - time;
    },
  };
}

/**
 * Distinct senders of each id, for the ids that come most often (Misra and Gries): when there is room for no more, each
 * id loses one of its arrivals, so that a crowd of ids that come once displaces itself and not the one that many bring.
 */
function createSenders() {
  const followed = new Map<string, { arrivals: number; readonly senders: Set<string> }>();

  function makeRoom(): void {
    for (const [keyId, entry] of followed) {
      entry.arrivals -= 1;
      if (entry.arrivals < 1) followed.delete(keyId);
    }
  }

  return {
    /** How many have brought this id, this sender included; counted as far as it matters. */
    note(keyId: string, sender: string): number {
      // No authority publishes ids of such a length.
      if (keyId.length > LONGEST_TEXT) return 0;
      let entry = followed.get(keyId);
      if (entry === undefined) {
        if (followed.size >= MOST_IDS) makeRoom();
        if (followed.size >= MOST_IDS) return 1;
        entry = { arrivals: 0, senders: new Set() };
        followed.set(keyId, entry);
      }
      entry.arrivals += 1;
      if (entry.senders.size < INDICATION) entry.senders.add(sender.slice(0, LONGEST_TEXT));
      return entry.senders.size;
    },
    forget: (keyId: string) => void followed.delete(keyId),
  };
}
