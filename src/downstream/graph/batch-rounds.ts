/** Sends a batch and, for the parts that were throttled or challenged, sends those again. */

import type { Readable } from "node:stream";
import { GatewayError } from "../../errors.ts";
import { parseRetryAfter } from "../../foundation/retry-after.ts";
import type { Answer } from "../forward/answer.ts";
import { challengeOf } from "../headers/claims-challenge.ts";
import { RESPONSE_RULES } from "../headers/header-rules.ts";
import { isDropped } from "../headers/headers.ts";
import type { BatchPart } from "./batch-request.ts";

/** What the API said to one part. */
export interface PartAnswer {
  readonly id: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface BatchRoundsOptions {
  readonly parts: readonly BatchPart[];
  /** Sends a batch; with `claims`, under a new token. */
  readonly send: (body: Buffer, claims?: string) => Promise<Answer>;
  /** What is left of the deadline, ms. */
  readonly msLeft: () => number;
  /** Rejects when nobody waits any more. */
  readonly pause: (ms: number) => Promise<void>;
  readonly now: () => number;
}

export type BatchResult =
  | {
      readonly kind: "answered";
      readonly head: Answer;
      readonly responses: readonly PartAnswer[];
      /** The answer as JSON. */
      readonly bytes: Buffer;
    }
  /** No batch answer, or one too large to look into: `begun`, then the rest of the body. */
  | { readonly kind: "unread"; readonly head: Answer; readonly begun: Buffer };

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
 * Rejects with `claims_challenged` when a new token was not enough, and with whatever `send` and `pause` say.
 */
export async function sendBatch(options: BatchRoundsOptions): Promise<BatchResult> {
  const { parts, send, msLeft, pause, now } = options;
  const answers = new Map<string, PartAnswer>();
  let pending = parts;
  let claims: string | undefined;
  let renewed = false;
  let answered: Answer | undefined;
  for (let round = 1; ; round++) {
    const answer = await readAnswer(await send(Buffer.from(JSON.stringify({ requests: pending })), claims));
    if (answer.kind === "unread") {
      if (answered === undefined) return answer;
      // Only a repetition came to nothing; what the parts were told before stands.
      answer.head.body.destroy();
      return wholeOf(answers, answered);
    }
    if (answer.kind === "answers") {
      answered = answer.head;
      for (const one of answer.answers) answers.set(key(one.id), one);
    }
    claims = answer.kind === "challenged" ? answer.claims : challengeIn(answers.values());
    if (claims !== undefined) {
      if (renewed) throw challenged(claims);
      renewed = true;
      if (answer.kind === "answers") pending = partsAgain(parts, answers, isChallenged);
      continue;
    }
    if (answer.kind === "challenged") continue;
    const waitMs = pauseFor([...answers.values()], round, now());
    if (waitMs === undefined || round === MAX_ROUNDS || waitMs >= msLeft()) {
      return wholeOf(answers, answer.head, round === 1 ? answer.bytes : undefined);
    }
    await pause(waitMs);
    pending = partsAgain(parts, answers, isThrottled);
  }
}

type ReadAnswer =
  | {
      readonly kind: "answers";
      readonly head: Answer;
      readonly answers: readonly PartAnswer[];
      readonly bytes: Buffer;
    }
  | { readonly kind: "challenged"; readonly claims: string }
  | (BatchResult & { readonly kind: "unread" });

async function readAnswer(head: Answer): Promise<ReadAnswer> {
  const { status, headers, body } = head;
  const claims = challengeOf(status, headers["www-authenticate"]);
  if (claims !== undefined) {
    body.destroy();
    return { kind: "challenged", claims };
  }
  if (status !== 200) return { kind: "unread", head, begun: Buffer.alloc(0) };
  const { bytes, isWhole } = await readAtMost(body, MAX_ANSWER);
  const answers = isWhole ? readPartAnswers(bytes) : undefined;
  return answers === undefined
    ? { kind: "unread", head, begun: bytes }
    : { kind: "answers", head, answers, bytes };
}

/** The bytes as they came where nothing had to be changed, so that numbers keep their spelling. */
function wholeOf(answers: ReadonlyMap<string, PartAnswer>, head: Answer, bytes?: Buffer): BatchResult {
  const responses = [...answers.values()].map(withoutDropped);
  const isAsItCame = bytes !== undefined && responses.every((one) => one === answers.get(key(one.id)));
  return {
    kind: "answered",
    head,
    responses,
    bytes: isAsItCame ? bytes : Buffer.from(JSON.stringify({ responses })),
  };
}

/** Graph compares ids without regard to case. */
const key = (id: string) => id.toLowerCase();
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
    for (const { id, dependsOn = [] } of parts) {
      const answer = answers.get(key(id));
      if (answer === undefined) continue;
      const follows = answer.status === 424 && dependsOn.some((other) => again.has(key(other)));
      if (isMeant(answer) || follows) again.add(key(id));
    }
  }
  return parts
    .filter(({ id }) => again.has(key(id)))
    .map((part) => {
      if (part.dependsOn === undefined) return part;
      // What has succeeded is not in the repetition, and Graph refuses a dependency that it cannot see.
      return { ...part, dependsOn: part.dependsOn.filter((other) => again.has(key(other))) };
    });
}

function pauseFor(responses: readonly PartAnswer[], round: number, nowMs: number): number | undefined {
  const throttled = responses.filter(isThrottled);
  if (throttled.length === 0) return undefined;
  const fallback = DEFAULT_PAUSE_MS * 2 ** (round - 1) * (0.5 + Math.random() / 2);
  return Math.max(
    ...throttled.map(({ headers }) => parseRetryAfter(field(headers, "retry-after"), nowMs) ?? fallback),
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
  return challengeOf(status, field(headers, "www-authenticate"));
}

function field(headers: PartAnswer["headers"], wanted: string): string | undefined {
  return Object.entries(headers).find(([name]) => name.toLowerCase() === wanted)?.[1];
}

/** What a downstream may not say in a header it may not say in a part's either. */
function withoutDropped(answer: PartAnswer): PartAnswer {
  const passes = (name: string) => !isDropped(RESPONSE_RULES, name.toLowerCase());
  const headers = Object.entries(answer.headers);
  if (headers.every(([name]) => passes(name))) return answer;
  return { ...answer, headers: Object.fromEntries(headers.filter(([name]) => passes(name))) };
}

/** The parts' answers, or undefined when this is no batch answer. */
function readPartAnswers(bytes: Buffer): readonly PartAnswer[] | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString("utf8"));
  } catch {
    // Passed on as it is: a strange answer is still the answer.
    return undefined;
  }
  const { responses } = members(parsed);
  if (!Array.isArray(responses)) return undefined;
  return responses.map((response: unknown) => {
    const { id, status, headers, ...more } = members(response);
    const texts = Object.entries(members(headers)).map(([name, value]) => [name, String(value)]);
    return { id: String(id), status: Number(status), headers: Object.fromEntries(texts), ...more };
  });
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

async function readAtMost(
  body: Readable,
  limit: number,
): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }> {
  const chunks: Buffer[] = [];
  let length = 0;
  // What follows is still wanted by whoever passes a large answer on.
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) return { bytes: Buffer.concat(chunks, length), isWhole: false };
  }
  return { bytes: Buffer.concat(chunks, length), isWhole: true };
}

function challenged(claims: string): GatewayError {
  return new GatewayError("claims_challenged", {
    detail: "The downstream API asks for a new sign-in.",
    reason: "challenged_again",
    claims,
  });
}
