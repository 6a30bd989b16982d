/** Map in the order of age: what is too old, too many or too much leaves, the oldest first, at the same cost however many there are. */

/** An entry links to the next younger one itself: of a hundred thousand, each separate object would cost megabytes. */
export interface Aged<Entry> {
  readonly key: string;
  /** Ms since the epoch at which it is too old. */
  readonly until: number;
  /** What it takes in memory, by estimate. */
  readonly bytes: number;
  next: Entry | undefined;
}

export interface AgingMap<Entry> {
  get(key: string, time: number): Entry | undefined;
  /** Keeps the entry, unless it is larger than everything may be or another lives under its key. */
  put(entry: Entry, time: number): void;
  clear(): void;
  size(): number;
  bytes(): number;
}

/** Entries too old that one insertion removes, so that none has to clear away a whole crowd. */
const SWEEP_STEPS = 64;

/**
 * A Map alone keeps the order, too. But what is deleted at its beginning leaves a gap there until the Map is copied,
 * and finding the oldest walks over thousands of them.
 */
export function createAgingMap<Entry extends Aged<Entry>>(bounds: {
  readonly maxEntries: number;
  readonly maxBytes: number;
}): AgingMap<Entry> {
  const { maxEntries, maxBytes } = bounds;
  const entries = new Map<string, Entry>();
  let oldest: Entry | undefined;
  let newest: Entry | undefined;
  // Of all in the chain, those included whose key a younger one has taken over.
  let size = 0;
  let bytes = 0;

  function drop(entry: Entry): void {
    oldest = entry.next;
    if (oldest === undefined) newest = undefined;
    // V8 takes a link from an old object, although that one is out of reach, for a reason to keep a young one.
    entry.next = undefined;
    if (entries.get(entry.key) === entry) entries.delete(entry.key);
    size -= 1;
    bytes -= entry.bytes;
  }

  return {
    get(key, time) {
      const entry = entries.get(key);
      return entry !== undefined && time < entry.until ? entry : undefined;
    },

    put(entry, time) {
      for (let step = 0; step < SWEEP_STEPS && oldest !== undefined && oldest.until <= time; step += 1)
        drop(oldest);
      const earlier = entries.get(entry.key);
      if (maxEntries < 1 || entry.bytes > maxBytes || (earlier !== undefined && time < earlier.until)) return;
      while (oldest !== undefined && (size >= maxEntries || bytes + entry.bytes > maxBytes)) drop(oldest);
      // Deleted first: a Map that has a key keeps that string, and with it whatever text it is a part of.
      entries.delete(entry.key);
      entries.set(entry.key, entry);
      if (newest === undefined) oldest = entry;
      else newest.next = entry;
      newest = entry;
      size += 1;
      bytes += entry.bytes;
    },

    clear() {
      entries.clear();
      oldest = undefined;
      newest = undefined;
      size = 0;
      bytes = 0;
    },

    size: () => size,
    bytes: () => bytes,
  };
}
