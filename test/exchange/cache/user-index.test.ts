import { expect, test } from "@jest/globals";
import { createUserIndex, type OfUser } from "../../../src/exchange/cache/token-cache.ts";
import { createRandom } from "../../support/random.ts";

interface Thing extends OfUser<Thing> {
  readonly name: number;
}

function namesOf(first: Thing | undefined): number[] {
  const names: number[] = [];
  for (let thing = first; thing !== undefined; thing = thing.after) names.push(thing.name);
  return names.sort((a, b) => a - b);
}

test("holds of every user just what was added and not removed, in whatever order that was done", () => {
  const index = createUserIndex<Thing>();
  const model = new Map<string, Thing[]>();
  const { below } = createRandom(7);
  for (let step = 0; step < 4_000; step += 1) {
    const user = `user-${below(5)}`;
    const things = model.get(user) ?? [];
    if (below(2) === 0 && things.length < 8) {
      const thing: Thing = { name: step, user, before: undefined, after: undefined };
      index.add(thing);
      model.set(user, [...things, thing]);
    } else if (things.length > 0) {
      const [doomed] = things.splice(below(things.length), 1);
      if (doomed !== undefined) index.remove(doomed);
      if (things.length === 0) model.delete(user);
    }
    expect(namesOf(index.first(user))).toEqual((model.get(user) ?? []).map(({ name }) => name));
    expect(index.size()).toBe(model.size);
  }
});

test("leads from an entry that is removed on the way to those after it", () => {
  const index = createUserIndex<Thing>();
  for (const name of [1, 2, 3]) index.add({ name, user: "ann", before: undefined, after: undefined });
  const seen: number[] = [];
  for (let thing = index.first("ann"); thing !== undefined; thing = thing.after) {
    seen.push(thing.name);
    index.remove(thing);
  }
  expect(seen.sort()).toEqual([1, 2, 3]);
  expect(index.size()).toBe(0);
});
