import { expect, test } from "@jest/globals";
import { createBudget } from "../../src/foundation/budget.ts";

const alice = { user: "tenant/alice", client: "tenant/spa" };
const bob = { user: "tenant/bob", client: "tenant/spa" };
const carol = { user: "tenant/carol", client: "tenant/job" };

test("a user holds an eighth at most, and the next user is served all the same", () => {
  const budget = createBudget({ total: 16, userShare: 1 / 8, clientShare: 1 });
  expect([budget.take(alice), budget.take(alice), budget.take(alice)]).toEqual([
    undefined,
    undefined,
    "user",
  ]);
  expect(budget.take(bob)).toBeUndefined();
});

test("a client with many users holds its share at most, and another client is served all the same", () => {
  const budget = createBudget({ total: 4, userShare: 1, clientShare: 0.5 });
  expect([budget.take(alice), budget.take(bob), budget.take(bob)]).toEqual([undefined, undefined, "client"]);
  expect(budget.take(carol)).toBeUndefined();
});

test("the process's bound holds for all users together", () => {
  const budget = createBudget({ total: 3, userShare: 0.5, clientShare: 1 });
  expect([budget.take(alice), budget.take(bob), budget.take(carol)]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(budget.take({ user: "tenant/dan", client: "tenant/spa" })).toBe("process");
  expect(budget.used()).toBe(3);
});

test("units that do not fit are not taken in part", () => {
  const budget = createBudget({ total: 100, userShare: 0.5, clientShare: 1 });
  expect(budget.take(alice, 51)).toBe("user");
  expect(budget.used()).toBe(0);
  expect(budget.take(alice, 50)).toBeUndefined();
});

test("what is given back can be taken again, and an owner without units is forgotten", () => {
  const budget = createBudget({ total: 10, userShare: 0.2, clientShare: 1 });
  budget.take(alice, 2);
  expect(budget.users()).toBe(1);
  budget.give(alice);
  expect(budget.take(alice)).toBeUndefined();
  budget.give(alice, 2);
  expect([budget.used(), budget.users()]).toEqual([0, 0]);
});

test("a share of a small budget is one unit at least", () => {
  const budget = createBudget({ total: 4, userShare: 1 / 8, clientShare: 1 / 8 });
  expect(budget.take(alice)).toBeUndefined();
  expect(budget.take(alice)).toBe("user");
});

test("a share that is the whole is no bound of its own: what is full then is the process", () => {
  const budget = createBudget({ total: 2, userShare: 1, clientShare: 1 });
  expect([budget.take(alice, 2), budget.take(alice), budget.take(bob)]).toEqual([
    undefined,
    "process",
    "process",
  ]);
});

test("owners that come once and hold nothing any more leave no trace on what the others may hold", () => {
  const budget = createBudget({ total: 4, userShare: 0.5, clientShare: 1 });
  budget.take(alice, 2);
  for (let index = 0; index < 5_000; index += 1) {
    const passer = { user: `tenant/${index}`, client: "tenant/spa" };
    expect(budget.take(passer)).toBeUndefined();
    budget.give(passer);
  }
  expect([budget.used(), budget.users(), budget.take(alice)]).toEqual([2, 1, "user"]);
  budget.give(alice, 2);
  expect([budget.used(), budget.users(), budget.take(alice, 2)]).toEqual([0, 0, undefined]);
});
