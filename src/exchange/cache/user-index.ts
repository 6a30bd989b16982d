/** User index: all that is held for one user, linked from entry to entry, since nearly everybody has one. */

/** A Set for each user would take as much memory as everything else around a token. */
export interface OfUser<Entry> {
  readonly user: string;
  /** The user's other entries. */
  before: Entry | undefined;
  after: Entry | undefined;
}

export interface UserIndex<Entry> {
  /** The entry must not be linked yet. */
  add(entry: Entry): void;
  remove(entry: Entry): void;
  /** The first of the user's; `after` leads to the others, also past one that was removed meanwhile. */
  first(user: string): Entry | undefined;
  /** Users of whom there is an entry. */
  size(): number;
}

export function createUserIndex<Entry extends OfUser<Entry>>(): UserIndex<Entry> {
  const firsts = new Map<string, Entry>();
  return {
    add(entry) {
      const first = firsts.get(entry.user);
      if (first !== undefined) first.before = entry;
      entry.after = first;
      firsts.set(entry.user, entry);
    },
    remove({ user, before, after }) {
      if (after !== undefined) after.before = before;
      if (before !== undefined) before.after = after;
      else if (after !== undefined) firsts.set(user, after);
      else firsts.delete(user);
    },
    first: (user) => firsts.get(user),
    size: () => firsts.size,
  };
}
