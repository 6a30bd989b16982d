/** Recognises answers in which little may happen for long. */

import type { AnswerHeaders } from "../contract.ts";

/** Server-sent events (WHATWG HTML §9.2), which MCP uses, too. */
export function isEventStream({ "content-type": type }: AnswerHeaders): boolean {
  return typeof type === "string" && /^\s*text\/event-stream\s*(?:;|$)/i.test(type);
}
