/** A changing collection of responses or connections that costs one array and allocates nothing once it is as large as it gets. */

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
