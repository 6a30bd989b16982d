/**
 * Questions to Entra's process: the attacker sends them to the run, which passes them on. A process of its own keeps
 * Entra's priority apart from the attacker's: newcomers wait for what Entra signs.
 */

import type { Participant } from "./children.ts";
import type { Entra } from "./scenario.ts";

/** What a run needs of Entra before the gateway starts. */
export interface Facts {
  readonly token: string;
  readonly newcomers: readonly string[];
  /** Of the gateway. */
  readonly env: Readonly<Record<string, string>>;
}

type Call = keyof Entra;
type Asked<C extends Call> = Parameters<Entra[C]>;
type Answered<C extends Call> = Awaited<ReturnType<Entra[C]>>;

export interface Question<C extends Call = Call> {
  readonly id: string;
  readonly call: C;
  readonly asked: Asked<C>;
}

/** Errors have no class on the way between processes. */
export type Answer = { readonly value: unknown } | { readonly error: string };

/** How Entra's process does what it is asked for. */
export type Acts = { readonly [C in Call]: (...asked: Asked<C>) => Answered<C> | Promise<Answered<C>> };

let questions = 0;

/** A question that cannot be answered, or whose answer cannot come any more, rejects. */
export function entraBehind(ask: (question: Question) => Promise<Answer>): Entra {
  const call =
    <C extends Call>(name: C) =>
    async (...asked: Asked<C>): Promise<Answered<C>> => {
      const answer = await ask({ id: `${process.pid}-${questions++}`, call: name, asked });
      if ("error" in answer) throw new Error(`Entra was asked for ${name}: ${answer.error}`);
      // Of the type that `Acts` makes the other end give.
      return answer.value as Answered<C>;
    };
  return {
    addUsers: call("addUsers"),
    mintTokens: call("mintTokens"),
    delayTokens: call("delayTokens"),
    refuse: call("refuse"),
    revokeSessions: call("revokeSessions"),
    rollKeys: call("rollKeys"),
    keyReads: call("keyReads"),
    tokenRequests: call("tokenRequests"),
  };
}

export async function answerBy<C extends Call>(acts: Acts, { call, asked }: Question<C>): Promise<Answer> {
  try {
    return { value: await acts[call](...asked) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** Asks the process; an answer that it takes with it to its end is an error. */
export async function askProcess(entra: Participant, question: Question): Promise<Answer> {
  entra.tell({ question });
  try {
    return await entra.heard<Answer>(answerKind(question.id));
  } catch (error) {
    return { error: messageOf(error) };
  }
}

export const answerKind = (id: string): string => `answer ${id}`;

/** Waits until both are ready, which may start at once. @returns What Entra says of itself. */
export async function whenReady(entra: Participant, attacker: Participant): Promise<Facts> {
  const facts = await entra.heard<Facts>("facts");
  // Not earlier: a question that comes before Entra's process listens for it is lost.
  void passQuestions(attacker, entra);
  await attacker.heard("ready");
  return facts;
}

/** Passes the attacker's questions on, and the answers back, until the attacker ends. */
export async function passQuestions(attacker: Participant, entra: Participant): Promise<void> {
  for (;;) {
    // An attacker that ended or failed asks no more, and says so to those who wait for its findings.
    const question = await attacker.heard<Question>("question").catch(() => undefined);
    if (question === undefined) return;
    void askProcess(entra, question).then((answer) => attacker.tell({ id: question.id, answer }));
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
