import { beforeEach, describe, expect, test } from "@jest/globals";
import type { CredentialEvent, TrialVerdict } from "../../src/credential/contract.ts";
import { openReloadingValue, type ReloadingValueOptions } from "../../src/credential/reloading-value.ts";
import { ConfigurationError } from "../../src/errors.ts";

interface Value {
  readonly name: string;
  readonly expiresAt: number;
}
type Answer = Value | Error | undefined;

let now: number;
let events: CredentialEvent[];
let answers: Answer[];
let loads: { force: boolean; generation: number }[];
let verdicts: ((verdict: TrialVerdict) => void)[];

beforeEach(() => {
  now = 1_000;
  events = [];
  answers = [];
  loads = [];
  verdicts = [];
});

const value = (name: string, expiresAt = 1_000_000): Value => ({ name, expiresAt });
const fault = (problem: string) => new ConfigurationError([{ path: "S", problem }]);
const settled = () => new Promise((resolve) => setImmediate(resolve));
const told = () =>
  events.splice(0).map(({ type, generation, message }) => `${type} ${generation}: ${message}`);

const NOTHING = Symbol("no value");

async function open(
  first: Answer | typeof NOTHING = value("a"),
  options: Partial<ReloadingValueOptions<Value>> = {},
) {
  answers.push(first === NOTHING ? undefined : first);
  return openReloadingValue<Value>(
    {
      source: "certificate",
      origin: "the file",
      marginMs: 10,
      isDue: () => true,
      async load(force, generation) {
        loads.push({ force, generation });
        const answer = answers.shift();
        if (answer instanceof Error) throw answer;
        return answer;
      },
      ...options,
    },
    { now: () => now, emit: (event) => events.push(event), canary: undefined },
  );
}
const onTrial = {
  trial: () => new Promise<TrialVerdict>((resolve) => verdicts.push(resolve)),
};
async function decide(verdict: TrialVerdict): Promise<void> {
  verdicts.shift()?.(verdict);
  await settled();
}

describe("a value", () => {
  test("serves with its generation, and a newer one takes its place", async () => {
    const reloading = await open();
    expect(loads).toEqual([{ force: true, generation: 1 }]);
    expect(await reloading.read()).toEqual({ generation: 1, value: value("a") });
    answers.push(value("b"));
    expect(await reloading.read()).toEqual({ generation: 2, value: value("b") });
    expect(told()).toEqual(["reloaded 2: the file gave a new certificate credential, which serves now"]);
    await reloading.look(false);
    expect(loads).toEqual([
      { force: true, generation: 1 },
      { force: false, generation: 2 },
      { force: false, generation: 2 },
      { force: false, generation: 3 },
    ]);
  });

  test("stays where there is none newer, and where a newer one is not due", async () => {
    const reloading = await open();
    expect((await reloading.read()).generation).toBe(1);
    const lazy = await open(value("a"), { isDue: () => false });
    const before = loads.length;
    expect((await lazy.read()).generation).toBe(1);
    await lazy.look(true);
    expect(loads).toHaveLength(before);
  });

  test("is asked about with what the look knows", async () => {
    const looks: unknown[] = [];
    const reloading = await open(value("a"), {
      isDue: (look) => {
        looks.push(look);
        return look.at !== 2_000;
      },
    });
    now = 2_000;
    await reloading.look(false);
    now = 3_000;
    await reloading.look(true);
    now = 4_000;
    await reloading.look(false);
    expect(looks).toEqual([
      { force: false, at: 2_000, previousAt: 1_000, expiresAt: 1_000_000 },
      { force: true, at: 3_000, previousAt: 1_000, expiresAt: 1_000_000 },
      { force: false, at: 4_000, previousAt: 3_000, expiresAt: 1_000_000 },
    ]);
  });

  test("is handed out up to its margin, and then says until when it was good", async () => {
    const reloading = await open(value("a", 5_000));
    now = 4_989;
    expect((await reloading.read()).value.name).toBe("a");
    expect(reloading.status().state).toBe("usable");
    now = 4_990;
    await expect(reloading.read()).rejects.toMatchObject({
      code: "credential_unavailable",
      reason: "expired",
      diagnostics: {
        source: "certificate",
        problem: `what the file last gave is valid until ${new Date(5_000).toISOString()}`,
      },
    });
    expect(reloading.status()).toEqual({
      source: "certificate",
      state: "unusable",
      generation: 1,
      expiresAt: 5_000,
    });
  });

  test("that fails to load leaves the last one, is reported once, and its return as well", async () => {
    const reloading = await open();
    answers.push(fault("gone"), fault("gone"), fault("empty"), undefined, undefined);
    now = 2_000;
    for (let time = 0; time < 2; time += 1) expect((await reloading.read()).value.name).toBe("a");
    expect(told()).toEqual(["reload_failed 1: S: gone"]);
    expect(reloading.status().fault).toEqual({ since: 2_000, problem: "S: gone" });
    now = 3_000;
    await reloading.look(false);
    expect(told()).toEqual(["reload_failed 1: S: empty"]);
    expect(reloading.status().fault).toEqual({ since: 3_000, problem: "S: empty" });
    await reloading.look(false);
    expect(told()).toEqual(["reloaded 1: the file is usable again"]);
    expect(reloading.status()).not.toHaveProperty("fault");
    await reloading.look(false);
    expect(told()).toEqual([]);
  });

  test("that is over while its source fails says both", async () => {
    const reloading = await open(value("a", 5_000));
    answers.push(fault("gone"));
    now = 6_000;
    await expect(reloading.read()).rejects.toMatchObject({
      reason: "unreadable",
      diagnostics: { problem: expect.stringMatching(/^S: gone; what the file last gave/) },
    });
  });

  test("passes a defect on", async () => {
    const reloading = await open();
    answers.push(new TypeError("defect"));
    await expect(reloading.look(false)).rejects.toThrow("defect");
  });

  test("has to be there at the start", async () => {
    await expect(open(fault("gone"))).rejects.toThrow("S: gone");
    await expect(open(NOTHING)).rejects.toThrow(TypeError);
  });

  test("tells its end with each event", async () => {
    const reloading = await open();
    answers.push(value("b", 7_000));
    await reloading.look(false);
    expect(events).toMatchObject([{ source: "certificate", expiresAt: 7_000 }]);
  });
});

describe("a newer value on trial", () => {
  test("serves when it is accepted, and the one before until then", async () => {
    const reloading = await open(value("a"), onTrial);
    answers.push(value("b"));
    expect((await reloading.read()).value.name).toBe("a");
    expect(reloading.status().candidate).toEqual({ generation: 2, state: "on trial" });
    expect(told()).toEqual([]);
    await decide({ verdict: "accepted" });
    expect((await reloading.read()).value.name).toBe("b");
    expect(reloading.status()).not.toHaveProperty("candidate");
    expect(told()).toEqual([
      "reloaded 2: the file gave a new certificate credential, which was accepted by Entra and serves now",
    ]);
  });

  test.each([
    ["refused", "Entra does not accept it (no such key); is it registered? The one before serves on", 60_000],
    [
      "undecided",
      "whether Entra accepts it could not be found out (no such key); the one before serves on",
      15_000,
    ],
  ] as const)(
    "that is %s is reported once and tried again after its pause",
    async (verdict, problem, pauseMs) => {
      const reloading = await open(value("a"), onTrial);
      answers.push(value("b"));
      await reloading.look(false);
      now = 2_000;
      await decide({ verdict, problem: "no such key" });
      expect(told()).toEqual([`trial_failed 1: the file holds a new certificate credential: ${problem}`]);
      expect(reloading.status()).toMatchObject({
        candidate: { generation: 2, state: verdict },
        fault: { since: 2_000, problem },
      });
      now = 2_000 + pauseMs - 1;
      await reloading.look(false);
      expect(verdicts).toHaveLength(0);
      now += 1;
      await reloading.look(false);
      expect(verdicts).toHaveLength(1);
      // One at a time.
      await reloading.look(false);
      expect(verdicts).toHaveLength(1);
      await decide({ verdict, problem: "no such key" });
      expect(told()).toEqual([]);
      expect(reloading.status().fault?.since).toBe(2_000);
      now += pauseMs;
      await reloading.look(false);
      await decide({ verdict: "accepted" });
      expect((await reloading.read()).generation).toBe(2);
    },
  );

  test("is tried again at once by a clock that was set back", async () => {
    const reloading = await open(value("a"), onTrial);
    answers.push(value("b"));
    await reloading.look(false);
    await decide({ verdict: "refused", problem: "x" });
    now -= 1;
    await reloading.look(false);
    expect(verdicts).toHaveLength(1);
  });

  test("gives way to one that is newer still, whose generation is higher", async () => {
    const reloading = await open(value("a"), onTrial);
    answers.push(value("b"), value("c"));
    await reloading.look(false);
    await reloading.look(false);
    expect(loads.map(({ generation }) => generation)).toEqual([1, 2, 3]);
    await decide({ verdict: "accepted" });
    expect((await reloading.read()).value.name).toBe("a");
    await decide({ verdict: "accepted" });
    expect(await reloading.read()).toMatchObject({ generation: 3, value: { name: "c" } });
  });

  test("serves untried when the one before is refused, or is over", async () => {
    for (const over of [false, true]) {
      const reloading = await open(value("a", now + 1_000), onTrial);
      answers.push(value("b"));
      await reloading.look(false);
      if (over) now += 990;
      await reloading.look(!over);
      expect((await reloading.read()).value.name).toBe("b");
      expect(told()).toEqual([
        "reloaded 2: the file gave a new certificate credential, which serves untried, since the one before does not",
      ]);
      await decide({ verdict: "refused", problem: "late" });
      expect([told(), reloading.status().candidate]).toEqual([[], undefined]);
    }
  });

  test("is not tried where the one before is of no use any more, or where it needs none", async () => {
    const forced = await open(value("a"), onTrial);
    answers.push(value("b"));
    await forced.look(true);
    expect([(await forced.read()).value.name, verdicts.length]).toEqual(["b", 0]);

    const over = await open(value("a", now + 10), onTrial);
    answers.push(value("b"));
    expect([(await over.read()).value.name, verdicts.length]).toEqual(["b", 0]);

    const asked: unknown[] = [];
    const needless = await open(value("a"), {
      trial: (candidate, current) => {
        asked.push([candidate.name, current.name]);
        return undefined;
      },
    });
    answers.push(value("b"));
    expect([(await needless.read()).value.name, asked]).toEqual(["b", [["b", "a"]]]);
  });
});
