/** The policy of one route on messages to its server: reads them, decides about them, and filters the lists of the answer. */

import type { IncomingHttpHeaders } from "node:http";
import type { RewriteAnswer } from "../../downstream/contract.ts";
import { inTurns } from "../../foundation/json-text.ts";
import { createAnswerFilter } from "./answer-filter.ts";
import type { Message, MessageRefusal, Messages, ToolRules } from "./contract.ts";
import { MessageError } from "./message-error.ts";
import { readMessages } from "./messages.ts";
import { checkMirroredFields } from "./mirrored-fields.ts";
import { compileToolPolicy } from "./policy.ts";
import { closedTools, unreadableMessage } from "./refusal.ts";
import { createToolLabels, shownName } from "./tool-names.ts";

/** What a POST asks for, in names that a log may hold. */
export interface MessageFacts {
  readonly method: string;
  readonly tools: readonly string[];
  /** The same as labels of metrics. */
  readonly labels: readonly string[];
}

export type Verdict =
  | { readonly kind: "refused"; readonly refusal: MessageRefusal }
  /** The token has none of these scopes, of which one is needed. */
  | { readonly kind: "scope_missing"; readonly requiredScopes: readonly string[] }
  | {
      readonly kind: "passed";
      /** Patterns under which the calls count, once for each call. */
      readonly countedAs: readonly string[];
      /** For the answer; undefined where it holds no list. */
      readonly rewrite: RewriteAnswer | undefined;
    };

export interface ToolGate {
  decide(post: {
    readonly text: Buffer;
    readonly headers: IncomingHttpHeaders;
    /** Of the caller's token. */
    readonly scopes: readonly string[];
    readonly correlationId: string;
    /** The user for whom the messages are read: long ones leave others their turn. */
    readonly owner: string | undefined;
    /** Called when the messages are read, before anything is decided about them. */
    readonly onRead: (facts: MessageFacts) => void;
  }): Promise<Verdict>;
  /** For the stream of a GET, on which a list may be sent again; undefined where no tool is closed. */
  readonly stream: RewriteAnswer | undefined;
}

const isCall = ({ method }: Message) => method === "tools/call";

export function createToolGate(rules: ToolRules | undefined): ToolGate {
  const policy = compileToolPolicy(rules);
  const labels = createToolLabels(policy.named);
  const filter = createAnswerFilter((tool) => {
    const isOpen = policy.isOpen(tool);
    if (isOpen) labels.learn(tool);
    return isOpen;
  }, policy.closesSome);
  const isClosed = (message: Message) => isCall(message) && !policy.isOpen(message.name ?? "");

  function factsOf({ isBatch, all }: Messages): MessageFacts {
    const names = all.filter(isCall).map(({ name = "" }) => name);
    return {
      method: isBatch ? "batch" : shownName(all[0]?.method ?? "response"),
      tools: names.map(shownName),
      labels: names.map(labels.labelOf),
    };
  }

  return {
    stream: policy.closesSome ? filter : undefined,
    async decide({ text, headers, scopes, correlationId, owner, onRead }) {
      try {
        const messages = await inTurns(readMessages(text), owner);
        onRead(factsOf(messages));
        checkMirroredFields(headers, messages);
        const { all } = messages;
        if (all.some(isClosed))
          return { kind: "refused", refusal: closedTools(messages, isClosed, correlationId) };
        const called = all.filter(isCall).map(({ name = "" }) => name);
        const requiredScopes = called
          .map((name) => policy.missingScopes(name, scopes))
          .find(({ length }) => length > 0);
        if (requiredScopes !== undefined) return { kind: "scope_missing", requiredScopes };
        const asksForList = all.some(({ method }) => method === "tools/list");
        return {
          kind: "passed",
          countedAs: called.flatMap(policy.countedAs),
          rewrite: asksForList ? filter : undefined,
        };
      } catch (error) {
        if (!(error instanceof MessageError)) throw error;
        return { kind: "refused", refusal: unreadableMessage(error, correlationId) };
      }
    },
  };
}
