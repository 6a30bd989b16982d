/** Sends a batch and, for the parts that were throttled or challenged, sends those again. */

import type { Readable } from "node:stream";
import { GatewayError } from "../../errors.ts";
import { inTurns } from "../../foundation/json-text.ts";
import { parseRetryAfter } from "../../foundation/retry-after.ts";
import { LARGE_PIECE, loopTurns } from "../../foundation/turns.ts";
import type { Answer } from "../forward/answer.ts";
import { challengeOf } from "../headers/claims-challenge.ts";
import {
  assembleAnswer,
  type BatchAnswer,
  type FieldChanges,
  type PartAnswer,
  readBatchAnswer,
} from "./batch-answer.ts";
import { type BatchPart, dependingOn, idKey, writeBatch } from "./batch-parts.ts";

export interface BatchRoundsOptions {
  readonly parts: readonly BatchPart[];
  /** The batch that holds these parts, where it is at hand. */
  readonly text?: Buffer | undefined;
  /** Sends a batch; with `claims`, under a new token. */
  readonly send: (body: Buffer, claims?: string) => Promise<Answer>;
  /** Time left until the deadline, ms. */
  readonly msLeft: () => number;
  /** Rejects when the caller has left. */
  readonly pause: (ms: number) => Promise<void>;
  readonly now: () => number;
  /** Changes to the header fields of the parts' answers. */
  readonly fields: FieldChanges;
  /** Asks for memory for that much more of an answer, bytes; false leaves the answer unread. */
  readonly mayKeep: (bytes: number) => boolean;
  /** For whom the answers are read; see `Turns`. */
  readonly owner: string | undefined;
}

export type BatchResult =
  | {
      readonly kind: "answered";
      readonly head: Answer;
      /** Latest answer to each part, by `idKey`. */
      readonly parts: ReadonlyMap<string, PartAnswer>;
      /** The whole answer. */
      readonly pieces: readonly Buffer[];
    }
  /** No batch answer, or one too large to look into: the beginning, then the rest of the body. */
  | { readonly kind: "unread"; readonly head: Answer; readonly begun: readonly Buffer[] };

/** Largest answer that is looked into, bytes. */
const MAX_ANSWER = 16 * 2 ** 20;
const MAX_ROUNDS = 4;
/** Pause when a throttled part names none, ms, doubled each round. */
const DEFAULT_PAUSE_MS = 1000;

/**
 * Throttled parts are repeated after the longest `Retry-After` among them, as Graph advises, as long as that fits
 * into the deadline; 429 means that nothing was done, so any method may be repeated. Parts that met a claims
 * challenge are repeated once with a new token. Parts that depended on either go along; no other part is sent twice.
 *
 * Rejects with `claims_challenged` when a new token was not enough, and with the errors of `send` and `pause`.
 */
export async function sendBatch(options: BatchRoundsOptions): Promise<BatchResult> {
  const { parts, msLeft, pause, now } = options;
  const answers = new Map<string, PartAnswer>();
  let pending = parts;
  let claims: string | undefined;
  let renewed = false;
  let answered: Answered | undefined;
  const wholeOf = ({ head, first }: Answered): BatchResult => ({
    kind: "answered",
    head,
    parts: answers,
    pieces: assembleAnswer(first, answers, options.fields),
  });
  for (let round = 1; ; round++) {
    const answer = await sendRound(options, pending, claims, answered !== undefined);
    if (answer.kind === "unread" && answered === undefined) return answer;
    if (answer.kind === "unread" || answer.kind === "failed") {
      // Only a repetition came to nothing. What the parts were answered before stands: some of it was done.
      if (answer.kind === "unread") answer.head.body.destroy();
      if (answered !== undefined) return wholeOf(answered);
      throw answer.kind === "failed" ? answer.error : new Error("a round without an answer");
    }
    if (answer.kind === "answers") {
      answered = { head: answer.head, first: answered?.first ?? answer.answer };
      for (const one of answer.answer.parts) answers.set(idKey(one.id), one);
    }
    claims = answer.kind === "challenged" ? answer.claims : challengeIn(answers.values());
    if (claims !== undefined) {
      if (renewed) throw challenged(claims);
      renewed = true;
      if (answer.kind === "answers") pending = partsAgain(parts, answers, isChallenged);
      continue;
    }
    if (answered === undefined) continue;
    const waitMs = pauseFor([...answers.values()], round, now());
    if (waitMs === undefined || round === MAX_ROUNDS || waitMs >= msLeft()) return wholeOf(answered);
    await pause(waitMs);
    pending = partsAgain(parts, answers, isThrottled);
  }
}

/** The first answer to the batch as such, and the head of the latest. */
interface Answered {
  readonly head: Answer;
  readonly first: BatchAnswer;
}

async function sendRound(
  { parts, text, send, mayKeep, owner }: BatchRoundsOptions,
  pending: readonly BatchPart[],
  claims: string | undefined,
  isRepetition: boolean,
): Promise<ReadAnswer | { readonly kind: "failed"; readonly error: GatewayError }> {
  const body = pending === parts && text !== undefined ? text : writeBatch(pending);
  try {
    return await readAnswer(await send(body, claims), mayKeep, owner);
  } catch (error) {
    // A challenge that the exchange cannot answer has to reach the user, whatever the other parts were answered.
    const mayStand = isRepetition && claims === undefined && error instanceof GatewayError;
    if (mayStand) return { kind: "failed", error };
    throw error;
  }
}

type ReadAnswer =
  | { readonly kind: "answers"; readonly head: Answer; readonly answer: BatchAnswer }
  | { readonly kind: "challenged"; readonly claims: string }
  | (BatchResult & { readonly kind: "unread" });

async function readAnswer(
  head: Answer,
  mayKeep: (bytes: number) => boolean,
  owner: string | undefined,
): Promise<ReadAnswer> {
  const { status, headers, body } = head;
  let claims: string | undefined;
  try {
    claims = challengeOf(status, headers["www-authenticate"]);
  } catch (error) {
    body.destroy();
    throw error;
  }
  if (claims !== undefined) {
    body.destroy();
    return { kind: "challenged", claims };
  }
  if (status !== 200) return { kind: "unread", head, begun: [] };
  const { chunks, length, isWhole } = await readAtMost(body, mayKeep, owner);
  if (!isWhole) return { kind: "unread", head, begun: chunks };
  // Answers that are whole in the same turn are put together in one each.
  if (length >= LARGE_PIECE) await loopTurns.pause(owner);
  const text = Buffer.concat(chunks, length);
  if (length >= LARGE_PIECE) await loopTurns.pause(owner);
  const answer = await inTurns(readBatchAnswer(text), owner);
  return answer === undefined ? { kind: "unread", head, begun: [text] } : { kind: "answers", head, answer };
}

const isThrottled = ({ status }: PartAnswer) => status === 429;
const isChallenged = (answer: PartAnswer) => claimsOf(answer) !== undefined;

/** The parts that are to be repeated, and those that failed because they depend on one. */
function partsAgain(
  parts: readonly BatchPart[],
  answers: ReadonlyMap<string, PartAnswer>,
  isMeant: (answer: PartAnswer) => boolean,
): BatchPart[] {
  const again = new Set<string>();
  // Parts may be listed in any order, so once more for each step of the longest chain.
  for (let size = -1; size !== again.size; ) {
    size = again.size;
    for (const { id, dependsOn } of parts) {
      const answer = answers.get(idKey(id));
      if (answer === undefined) continue;
      const follows = answer.status === 424 && dependsOn.some((other) => again.has(idKey(other)));
      if (isMeant(answer) || follows) again.add(idKey(id));
    }
  }
  return (
    parts
      .filter(({ id }) => again.has(idKey(id)))
      // A part that has succeeded is not in the repetition, and Graph refuses a dependency that it cannot see.
      .map((part) =>
        dependingOn(
          part,
          part.dependsOn.filter((other) => again.has(idKey(other))),
        ),
      )
  );
}

function pauseFor(responses: readonly PartAnswer[], round: number, nowMs: number): number | undefined {
  const throttled = responses.filter(isThrottled);
  if (throttled.length === 0) return undefined;
  const fallback = DEFAULT_PAUSE_MS * 2 ** (round - 1) * (0.5 + Math.random() / 2);
  return Math.max(
    ...throttled.map(({ headers }) => parseRetryAfter(headers.get("retry-after"), nowMs) ?? fallback),
  );
}

function challengeIn(answers: Iterable<PartAnswer>): string | undefined {
  for (const answer of answers) {
    const claims = claimsOf(answer);
    if (claims !== undefined) return claims;
  }
  return undefined;
}

function claimsOf({ status, headers }: PartAnswer): string | undefined {
  return challengeOf(status, headers.get("www-authenticate"));
}

async function readAtMost(
  body: Readable,
  mayKeep: (bytes: number) => boolean,
  owner: string | undefined,
): Promise<{ readonly chunks: readonly Buffer[]; readonly length: number; readonly isWhole: boolean }> {
  const chunks: Buffer[] = [];
  let length = 0;
  // The rest is still wanted where a large answer is passed on.
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_ANSWER || !mayKeep(chunk.length)) return { chunks, length, isWhole: false };
    // The system hands over up to 2 MiB of a connection in one turn of the event loop.
    if (chunk.length >= LARGE_PIECE && !loopTurns.isFree()) await loopTurns.pause(owner);
  }
  return { chunks, length, isWhole: true };
}

function challenged(claims: string): GatewayError {
  return new GatewayError("claims_challenged", {
    detail: "The downstream API asks for a new sign-in.",
    reason: "challenged_again",
    claims,
  });
}
