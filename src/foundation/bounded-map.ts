/** A map with a bound: each entry has an end, and past the bound the oldest entry leaves first. */

export interface BoundedMap<Value> {
  /** The value under the key, unless its time (ms since the epoch) is over. */
  get(key: string, time: number): Value | undefined;
  /** Puts the value as the youngest; it ends at `until`, ms since the epoch. */
  set(key: string, value: Value, until?: number): void;
  delete(key: string): void;
  clear(): void;
  /** Entries held, those included whose end no `get` has noticed yet. */
  size(): number;
}

interface Entry<Value> {
  readonly key: string;
  readonly value: Value;
  readonly until: number;
  older: Entry<Value> | undefined;
  younger: Entry<Value> | undefined;
}

/**
 * The order of age is a chain beside the Map. The Map's order alone would do, but keys deleted at its beginning leave
 * gaps there, and finding the oldest would walk over thousands of them.
 */
export function createBoundedMap<Value>(options: {
  readonly maxEntries: number;
  /** Called for each entry that leaves for want of room. */
  readonly onEvicted?: (value: Value) => void;
}): BoundedMap<Value> {
  const { maxEntries, onEvicted } = options;
  const entries = new Map<string, Entry<Value>>();
  let oldest: Entry<Value> | undefined;
  let youngest: Entry<Value> | undefined;

  function remove(entry: Entry<Value>): void {
    entries.delete(entry.key);
    if (entry.older === undefined) oldest = entry.younger;
    else entry.older.younger = entry.younger;
    if (entry.younger === undefined) youngest = entry.older;
    else entry.younger.older = entry.older;
  }

  return {
    get(key, time) {
      const entry = entries.get(key);
      if (entry === undefined || time < entry.until) return entry?.value;
      remove(entry);
      return undefined;
    },

    set(key, value, until = Number.POSITIVE_INFINITY) {
      if (maxEntries < 1) return;
      const earlier = entries.get(key);
      if (earlier !== undefined) remove(earlier);
      while (oldest !== undefined && entries.size >= maxEntries) {
        const { value: evicted } = oldest;
        remove(oldest);
        onEvicted?.(evicted);
      }
      const entry: Entry<Value> = { key, value, until, older: youngest, younger: undefined };
      if (youngest === undefined) oldest = entry;
      else youngest.younger = entry;
      youngest = entry;
      entries.set(key, entry);
    },

    delete(key) {
      const entry = entries.get(key);
      if (entry !== undefined) remove(entry);
    },

    clear() {
      entries.clear();
      oldest = undefined;
      youngest = undefined;
    },

    size: () => entries.size,
  };
}
