/** What node:http keeps on a connection and no type declares. Where a release has it no more, its effect is lost and nothing else. */

import type { Socket } from "node:net";

/** The same in Node 20, 22 and 24. */
type Parsed = Socket & {
  /** `onIncoming` is called for each head, and what it returns is the parser's to obey. */
  readonly parser?: { onIncoming?: unknown } | null;
  /** Set while the answers of a pipeline wait to be taken: nothing must be parsed then. */
  readonly _paused?: boolean;
};

/** The answer that makes the parser stop behind a message, as it does where another protocol begins. */
const STOP = 2;

/**
 * The parser goes on to the end of what was read even where its connection is destroyed: 1800 requests, 10 ms, for a
 * flood of the smallest. Without what Node has there, that is all that is lost.
 */
export function stopParsing(socket: Socket): void {
  const { parser } = socket as Parsed;
  if (parser) parser.onIncoming = () => STOP;
}

/**
 * Whether Node has paused a connection because its caller does not take the answers that are there. node:http asserts that it
 * is given nothing to parse meanwhile, and the process would end. `isPaused` does not tell: a connection that waits for its turn
 * is paused as well.
 */
export function waitsForAnswersToBeTaken(socket: Socket): boolean {
  return (socket as Parsed)._paused === true;
}
