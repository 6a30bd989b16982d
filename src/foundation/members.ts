/** Collections whose members come and go with every request, made of the members themselves so that V8 can collect what has left. */

export interface Members<Member extends object> extends Iterable<Member> {
  readonly size: number;
  add(member: Member): void;
  delete(member: Member): void;
}

/**
 * A Set would do, but for how V8 makes room in one that is always in use: each new table hangs on the one before, which
 * keeps its entries. Once such a table has grown old, everything after it does too: every request was seen to survive
 * young collections, which then took ten times as long.
 */
export function createMembers<Member extends object>(): Members<Member> {
  const PLACE = Symbol("place among the members");
  type Placed = Member & { [PLACE]?: number | undefined };
  const members: Placed[] = [];
  return {
    get size() {
      return members.length;
    },
    add(member: Placed) {
      member[PLACE] = members.length;
      members.push(member);
    },
    delete(member: Placed) {
      const place = member[PLACE];
      if (place === undefined) return;
      member[PLACE] = undefined;
      const last = members.pop();
      if (last === undefined || last === member) return;
      members[place] = last;
      last[PLACE] = place;
    },
    [Symbol.iterator]: () => members.values(),
  };
}

/** Members in the order in which they were added. Any of them may leave at any time. */
export interface Queue<Member extends object> {
  add(member: Member): void;
  /** Says whether it was there. */
  delete(member: Member): boolean;
  first(): Member | undefined;
  /** The one that was added next, undefined behind the last. */
  after(member: Member): Member | undefined;
}

/** See `createMembers` for why it is no Set. */
export function createQueue<Member extends object>(): Queue<Member> {
  const LINKS = Symbol("neighbours in the queue");
  type Links = { before: Linked | undefined; after: Linked | undefined; isIn: boolean };
  type Linked = Member & { [LINKS]?: Links };
  let first: Linked | undefined;
  let last: Linked | undefined;

  return {
    add(member: Linked) {
      member[LINKS] ??= { before: undefined, after: undefined, isIn: false };
      const links = member[LINKS];
      links.isIn = true;
      links.before = last;
      if (last?.[LINKS] === undefined) first = member;
      else last[LINKS].after = member;
      last = member;
    },
    delete(member: Linked) {
      const links = member[LINKS];
      if (links?.isIn !== true) return false;
      const { before, after } = links;
      if (before?.[LINKS] === undefined) first = after;
      else before[LINKS].after = after;
      if (after?.[LINKS] === undefined) last = before;
      else after[LINKS].before = before;
      // An old member that has left must not keep young ones from being collected.
      links.before = undefined;
      links.after = undefined;
      links.isIn = false;
      return true;
    },
    first: () => first,
    after: (member: Linked) => member[LINKS]?.after,
  };
}
