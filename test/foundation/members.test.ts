import { describe, expect, test } from "@jest/globals";
import { createMembers, createQueue } from "../../src/foundation/members.ts";

interface Named {
  readonly name: string;
}

const named = (name: string): Named => ({ name });

describe("members", () => {
  test("are counted, and leave in any order without taking others along", () => {
    const members = createMembers<Named>();
    const [a, b, c] = [named("a"), named("b"), named("c")];
    for (const one of [a, b, c]) members.add(one);
    members.delete(a);
    members.delete(a);
    expect(members.size).toBe(2);
    expect([...members].map(({ name }) => name).sort()).toEqual(["b", "c"]);
    members.delete(c);
    members.delete(b);
    expect([...members]).toEqual([]);
  });
});

describe("a queue", () => {
  function inOrder<Member extends object>(queue: ReturnType<typeof createQueue<Member>>): Member[] {
    const all: Member[] = [];
    for (let one = queue.first(); one !== undefined; one = queue.after(one)) all.push(one);
    return all;
  }

  test.each([
    ["the first", 0, ["b", "c"]],
    ["one in the middle", 1, ["a", "c"]],
    ["the last", 2, ["a", "b"]],
  ])(
    "keeps the order of the others when %s leaves, and takes it in again behind them",
    (_which, index, left) => {
      const queue = createQueue<Named>();
      const all = ["a", "b", "c"].map(named);
      for (const one of all) queue.add(one);
      const leaving = all[index] as Named;
      expect(queue.delete(leaving)).toBe(true);
      expect(queue.delete(leaving)).toBe(false);
      expect(inOrder(queue).map(({ name }) => name)).toEqual(left);
      queue.add(leaving);
      expect(inOrder(queue).map(({ name }) => name)).toEqual([...left, leaving.name]);
    },
  );

  test("is empty when all have left, and can be filled again", () => {
    const queue = createQueue<Named>();
    const [a, b] = [named("a"), named("b")];
    for (const one of [a, b]) queue.add(one);
    expect([queue.delete(b), queue.delete(a), queue.first()]).toEqual([true, true, undefined]);
    queue.add(b);
    expect(inOrder(queue)).toEqual([b]);
  });

  test("lets one member stand in two queues", () => {
    const [one, other] = [createQueue<Named>(), createQueue<Named>()];
    const a = named("a");
    one.add(a);
    other.add(a);
    one.delete(a);
    expect([one.first(), other.first()]).toEqual([undefined, a]);
  });
});
