/** Filters the tool lists in a server's answer, in whichever form the server gives it. */

import type { AnswerHeaders, RewriteAnswer } from "../../downstream/contract.ts";
import { createEventFilter } from "./event-filter.ts";
import { createListFilter, type KeepTool } from "./list-filter.ts";

const EVENTS = /^\s*text\/event-stream\s*(?:;|$)/i;

/** The server was asked for an answer without content coding. One that has it all the same cannot be looked into. */
const UNREADABLE = Buffer.from(
  JSON.stringify({
    jsonrpc: "2.0",
    id: null,
    error: {
      code: -32603,
      message: "The server's answer is compressed, so the gateway cannot take closed tools out of it.",
    },
  }),
);

/**
 * An answer in a content coding is replaced by an error where tools are closed, and passes as it is where the list is
 * only read.
 */
export function createAnswerFilter(keep: KeepTool, closesSome: boolean): RewriteAnswer {
  const isCoded = ({ "content-encoding": coding }: AnswerHeaders) =>
    coding !== undefined && String(coding).toLowerCase() !== "identity";
  return {
    body(_status, headers) {
      if (isCoded(headers))
        return closesSome ? { push: () => Buffer.alloc(0), flush: () => UNREADABLE } : undefined;
      return EVENTS.test(String(headers["content-type"] ?? ""))
        ? createEventFilter(() => createListFilter(keep))
        : createListFilter(keep);
    },
    fields(_status, headers) {
      if (!closesSome || !isCoded(headers)) return headers;
      const { "content-encoding": _coding, ...rest } = headers;
      return { ...rest, "content-type": "application/json" };
    },
    field: (_name, value) => value,
  };
}
