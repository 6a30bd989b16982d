import { describe, expect, test } from "@jest/globals";
import type { CredentialEvent, TrialVerdict } from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { createFirstTrial } from "../../src/credential/first-trial.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { createDirectory } from "./files.ts";
import { generateRsa, keyAndCertificate, NOON } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const request = { clientId: "client", tokenEndpoint: "https://login.example/home/token" };
const REFUSED = { verdict: "refused", problem: "client_rejected: secret_wrong (AADSTS7000215)" } as const;
const UNDECIDED = { verdict: "undecided", problem: "authority_timeout: timeout" } as const;
const ACCEPTED = { verdict: "accepted" } as const;
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A trial of one secret whose verdicts are given in order, and whose pauses end when the test says so. */
function trialOf(verdicts: readonly TrialVerdict[]) {
  const pauses: { readonly milliseconds: number; end(): Promise<void> }[] = [];
  const events: string[] = [];
  const left = [...verdicts];
  const trial = createFirstTrial({
    canary: { request, proveWith: async () => left.shift() ?? ACCEPTED },
    credential: {
      authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("s") }),
      refused: async () => false,
    },
    emit: (type, message) => events.push(`${type}: ${message}`),
    pause: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason));
        pauses.push({
          milliseconds,
          async end() {
            resolve();
            await settled();
          },
        });
      }),
  });
  return { trial, pauses, events, left };
}

describe("the first trial", () => {
  test("keeps the process unready until it has ended", async () => {
    let answer: (verdict: TrialVerdict) => void = () => {};
    const trial = createFirstTrial({
      canary: {
        request,
        proveWith: () =>
          new Promise((resolve) => {
            answer = resolve;
          }),
      },
      credential: {
        authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("s") }),
        refused: async () => false,
      },
      emit: () => {},
    });
    expect(trial.status()).toEqual({ accepted: false, firstTrial: { state: "pending" } });
    const run = trial.run();
    await settled();
    expect(trial.status().accepted).toBe(false);
    answer(ACCEPTED);
    await run;
    expect(trial.status()).toStrictEqual({ accepted: true, firstTrial: { state: "accepted" } });
  });

  test("that is to be repeated does not keep a process alive that has nothing else to do", async () => {
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
    const before = timers();
    const trial = createFirstTrial({
      canary: { request, proveWith: async () => REFUSED },
      credential: {
        authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("s") }),
        refused: async () => false,
      },
      emit: () => {},
    });
    const closing = new AbortController();
    await trial.run(closing.signal);
    expect(timers()).toBe(before);
    closing.abort();
    await settled();
    expect(trial.status().firstTrial).toEqual({ state: "refused", problem: REFUSED.problem });
  });

  test("after a definite refusal keeps the process unready until Entra has accepted the credential once", async () => {
    const { trial, pauses, events, left } = trialOf([REFUSED, REFUSED, ACCEPTED, REFUSED]);
    await trial.run();
    expect(trial.status()).toEqual({
      accepted: false,
      firstTrial: { state: "refused", problem: REFUSED.problem },
    });
    await pauses[0]?.end();
    expect(trial.status().accepted).toBe(false);
    await pauses[1]?.end();
    expect(trial.status()).toEqual({ accepted: true, firstTrial: { state: "accepted" } });
    expect(pauses.map(({ milliseconds }) => milliseconds)).toEqual([15_000, 15_000]);
    // What comes later is found out by requests: no further trial is made.
    expect(left).toEqual([REFUSED]);
    expect(events).toEqual([
      expect.stringMatching(/^trial_failed: .*AADSTS7000215.*stays unready/),
      expect.stringMatching(/^accepted: /),
    ]);
  });

  test("that decides nothing leaves the process ready, as an outage of Entra does later, and is tried again", async () => {
    const { trial, pauses, events } = trialOf([UNDECIDED, REFUSED]);
    await trial.run();
    expect(trial.status()).toMatchObject({ accepted: true, firstTrial: { state: "undecided" } });
    await pauses[0]?.end();
    expect(trial.status()).toMatchObject({ accepted: false, firstTrial: { state: "refused" } });
    expect(events.map((event) => event.split(":")[0])).toEqual(["trial_failed", "trial_failed"]);
  });

  test("stops when the signal fires, and reports nothing for that", async () => {
    const { trial, events } = trialOf([REFUSED]);
    const closing = new AbortController();
    await trial.run(closing.signal);
    closing.abort();
    await settled();
    expect(events).toHaveLength(1);
    expect(trial.status().firstTrial.state).toBe("refused");
  });

  test("is made once, however often it is asked for", async () => {
    const { trial, left } = trialOf([REFUSED, ACCEPTED]);
    await Promise.all([trial.run(), trial.run().catch(() => {})]);
    await trial.run();
    expect(left).toEqual([ACCEPTED]);
  });

  test("that fails by a defect decides nothing and quotes nothing of it", async () => {
    const trial = createFirstTrial({
      canary: { request, proveWith: () => Promise.reject(new TypeError("eyJ.secret")) },
      credential: {
        authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("s") }),
        refused: async () => false,
      },
      emit: () => {},
      pause: () => new Promise(() => {}),
    });
    await trial.run();
    expect(trial.status().firstTrial).toEqual({
      state: "undecided",
      problem: "the trial failed (TypeError)",
    });
  });
});

describe("a trial", () => {
  /** Verdicts by turn, and what the sources have to offer by turn: a proof, or an error. */
  function ring(
    verdicts: readonly TrialVerdict[],
    { handsOver = true, offers = [] as readonly (Error | undefined)[] } = {},
  ) {
    const events: string[] = [];
    let tried = 0;
    let asked = 0;
    const trial = createFirstTrial({
      canary: {
        request,
        async proveWith() {
          tried += 1;
          return verdicts[Math.min(tried, verdicts.length) - 1] ?? ACCEPTED;
        },
      },
      credential: {
        async authenticate() {
          asked += 1;
          const offer = offers[asked - 1];
          if (offer !== undefined) throw offer;
          return { method: "client_secret", clientSecret: new Secret("s") };
        },
        refused: async () => handsOver,
      },
      emit: (type, message) => events.push(`${type}: ${message}`),
      pause: () => new Promise(() => {}),
    });
    return { trial, events, tried: () => tried };
  }
  const unusable = new GatewayError("credential_unavailable", { detail: "Nothing valid is there." });

  test("ends after eight proofs, however many sources hand over", async () => {
    const { trial, tried } = ring([REFUSED]);
    await trial.run();
    expect([tried(), trial.status().firstTrial.state]).toEqual([8, "refused"]);
  });

  test("tries no other proof where no source hands over, and none after a verdict that is no refusal", async () => {
    for (const [verdicts, handsOver] of [
      [[REFUSED], false],
      [[UNDECIDED], true],
      [[ACCEPTED], true],
    ] as const) {
      const { trial, tried } = ring(verdicts, { handsOver });
      await trial.run();
      expect(tried()).toBe(1);
    }
  });

  test("without a usable source decides nothing, and a refusal before that stands", async () => {
    const without = ring([], { offers: [unusable] });
    await without.trial.run();
    expect(without.trial.status().firstTrial).toEqual({
      state: "undecided",
      problem: "Nothing valid is there.",
    });
    const after = ring([REFUSED], { offers: [undefined, unusable] });
    await after.trial.run();
    expect(after.trial.status().firstTrial).toEqual({ state: "refused", problem: REFUSED.problem });
  });

  test("that fails by a defect of a source decides nothing, and names the kind of what was thrown alone", async () => {
    const { trial } = ring([], { offers: [new RangeError("eyJ.secret")] });
    await trial.run();
    expect(trial.status().firstTrial).toEqual({
      state: "undecided",
      problem: "the trial failed (RangeError)",
    });
    const text = ring([], { offers: ["eyJ.secret" as unknown as Error] });
    await text.trial.run();
    expect(text.trial.status().firstTrial.problem).toBe("the trial failed (string)");
  });

  test.each([
    [ACCEPTED, "accepted: Entra accepts the gateway's credential"],
    [
      REFUSED,
      `trial_failed: Entra does not accept the gateway's credential (${REFUSED.problem}); this process stays unready until Entra does`,
    ],
    [
      UNDECIDED,
      `trial_failed: whether Entra accepts the gateway's credential could not be found out (${UNDECIDED.problem}); it is tried again`,
    ],
  ])("is reported: %j", async (verdict, sentence) => {
    const { trial, events } = ring([verdict], { handsOver: false });
    await trial.run();
    expect(events).toEqual([sentence]);
  });

  test("that fails as the one before is not reported again, and one that fails in another way is", async () => {
    const other = { verdict: "undecided", problem: "authority_unavailable: refused" } as const;
    const { trial, pauses, events } = trialOf([UNDECIDED, UNDECIDED, other]);
    await trial.run();
    await pauses[0]?.end();
    expect(events).toHaveLength(1);
    await pauses[1]?.end();
    expect(events).toHaveLength(2);
    expect(pauses.map(({ milliseconds }) => milliseconds)).toEqual([15_000, 15_000, 15_000]);
  });

  test("whose pause fails by a defect decides nothing from then on", async () => {
    const trial = createFirstTrial({
      canary: { request, proveWith: async () => REFUSED },
      credential: {
        authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("s") }),
        refused: async () => false,
      },
      emit: () => {},
      pause: () => Promise.reject(new TypeError("no timers")),
    });
    await trial.run();
    await settled();
    expect(trial.status().firstTrial).toEqual({
      state: "undecided",
      problem: "the trial failed (TypeError)",
    });
  });

  test("pauses by a timer of its own, which the signal ends", async () => {
    let tried = 0;
    const trial = createFirstTrial({
      canary: {
        request,
        async proveWith() {
          tried += 1;
          return REFUSED;
        },
      },
      credential: {
        authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("s") }),
        refused: async () => false,
      },
      emit: () => {},
    });
    const closing = new AbortController();
    await trial.run(closing.signal);
    for (let turn = 0; turn < 20; turn += 1) await settled();
    expect(tried).toBe(1);
    closing.abort();
    for (let turn = 0; turn < 20; turn += 1) await settled();
    expect([tried, trial.status().firstTrial.state]).toEqual([1, "refused"]);
  });

  test("where none can be made counts as accepted", async () => {
    const trial = createFirstTrial({
      canary: undefined,
      credential: { authenticate: () => Promise.reject(unusable), refused: async () => false },
      emit: () => {},
    });
    await trial.run();
    expect(trial.status()).toEqual({ accepted: true, firstTrial: { state: "accepted" } });
  });
});

describe("an opened credential", () => {
  test("counts as accepted where nothing can try it", async () => {
    const credential = await openCredential({ ...SETTINGS, clientSecret: new Secret("s") });
    expect(credential.status()).toMatchObject({ accepted: true, usable: true });
  });

  test("is accepted when Entra takes the second source, the first one being refused", async () => {
    const directory = createDirectory();
    const tried: string[] = [];
    const events: CredentialEvent[] = [];
    const credential = await openCredential({
      ...SETTINGS,
      now: () => NOON,
      certificatePath: directory.write("gateway.pem", keyAndCertificate(generateRsa())),
      clientSecret: new Secret("s"),
      onEvent: (event) => events.push(event),
      canary: {
        request,
        proveWith: async ({ method }) => {
          tried.push(method);
          return method === "client_secret" ? ACCEPTED : REFUSED;
        },
      },
    });
    expect(credential.status()).toMatchObject({ accepted: false, usable: true });
    await credential.warmUp();
    expect(credential.status()).toMatchObject({ accepted: true, serving: "client-secret" });
    expect(tried).toEqual(["client_assertion", "client_secret"]);
    expect(events.map(({ type, source }) => `${type} ${source}`)).toEqual([
      "refused certificate",
      "switched client-secret",
      "accepted client-secret",
    ]);
    directory.remove();
  });

  test("is not accepted when Entra refuses every source", async () => {
    const credential = await openCredential({
      ...SETTINGS,
      clientSecret: new Secret("s"),
      canary: { request, proveWith: async () => REFUSED },
    });
    const closing = new AbortController();
    await credential.warmUp(closing.signal);
    closing.abort();
    expect(credential.status()).toMatchObject({
      accepted: false,
      firstTrial: { state: "refused", problem: expect.stringContaining("AADSTS7000215") },
    });
  });
});
