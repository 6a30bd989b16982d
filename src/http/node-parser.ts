/** What node:http keeps on a connection and no type declares. Where a release has it no more, its effect is lost and nothing else. */

import type { Socket } from "node:net";

/** The same in Node 20, 22 and 24. */
type Parsed = Socket & {
  readonly parser?: {
    /** Called for each head; what it returns is the parser's to obey. */
    onIncoming?: unknown;
    /** Whether the bytes go from the system to the parser by themselves. */
    _consumed?: boolean;
    /** Has them go there. */
    consume?: (handle: object) => void;
  } | null;
  readonly _handle?: object | null;
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

/** The bytes of a connection, taken over from Node. */
export interface TakenReads {
  /** Has Node parse a piece of them. */
  parse(piece: Buffer): void;
  /** Gives them back, and says whether Node has them as before. */
  giveBack(): boolean;
}

/**
 * Hands to `onData` what is read of a connection. Node gives up the direct way from the system to its parser once another
 * listener of `data` is there, and the two listeners by which it pauses and resumes that way.
 */
export function takeReads(socket: Socket, onData: (chunk: Buffer) => void): TakenReads | undefined {
  const [ofNode] = socket.listeners("data") as ((chunk: Buffer) => void)[];
  if (ofNode === undefined) return undefined;
  const { parser, _handle: handle } = socket as Parsed;
  const wasDirect = parser?._consumed === true;
  const before = PAUSE_AND_RESUME.map((event) => socket.listeners(event) as (() => void)[]);
  socket.on("data", onData).removeListener("data", ofNode);
  return {
    parse(piece) {
      ofNode.call(socket, piece);
    },
    giveBack() {
      if (!wasDirect || !handle || parser.consume === undefined || parser !== (socket as Parsed).parser)
        return false;
      socket.on("data", ofNode).removeListener("data", onData);
      for (const [index, event] of PAUSE_AND_RESUME.entries()) {
        const left = socket.listeners(event);
        for (const listener of before[index] ?? []) if (!left.includes(listener)) socket.on(event, listener);
      }
      parser._consumed = true;
      parser.consume(handle);
      return true;
    },
  };
}

const PAUSE_AND_RESUME = ["pause", "resume"] as const;
