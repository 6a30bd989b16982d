/** Answers of JSON-RPC that the gateway gives in the server's place. */

import type { Message, MessageRefusal, Messages } from "./contract.ts";
import { CODES, type MessageError } from "./message-error.ts";

/** JSON-RPC leaves this code to the server. */
const NOT_SENT = -32000;

/** The body could not be read as messages: HTTP says 400 (MCP, Streamable HTTP), and nothing was sent. */
export function unreadableMessage(
  { code, reason, message, id }: MessageError,
  correlationId: string,
): MessageRefusal {
  const data = { code: "request_malformed", reason, correlationId };
  return {
    status: 400,
    body: answer(id, { code, message, data }),
    code: "request_malformed",
    reason,
  };
}

/**
 * Tools that the route closes are, to its callers, tools that are not there (MCP, Tools, error handling). A batch is not
 * sent in part: its other messages are answered too.
 */
export function closedTools(
  { isBatch, all }: Messages,
  isClosed: (message: Message) => boolean,
  correlationId: string,
): MessageRefusal {
  const data = { code: "target_forbidden", reason: "tool_closed", correlationId };
  const answers = all
    .filter(({ kind }) => kind === "request")
    .map((message) =>
      isClosed(message)
        ? answer(message.id, {
            code: CODES.parameters,
            message: `This route opens no tool "${message.name}".`,
            data,
          })
        : answer(message.id, {
            code: NOT_SENT,
            message: "The message was not sent, because another one of its batch was refused.",
            data,
          }),
    );
  const [only] = answers;
  // Notifications have no answer in JSON-RPC, so that HTTP says it.
  const isAnswered = only !== undefined;
  const alone =
    only ?? answer("null", { code: CODES.parameters, message: "This route does not open the tool.", data });
  return {
    status: isAnswered ? 200 : 403,
    body: isBatch && isAnswered ? `[${answers.join(",")}]` : alone,
    code: "target_forbidden",
    reason: "tool_closed",
  };
}

/** @param id JSON, as the caller wrote it. */
function answer(id: string, error: object): string {
  return `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(error)}}`;
}
