/** Writes the head of an answer of which a part was checked before, so that Node does not look through that part each time. */

import { IncomingMessage, ServerResponse, validateHeaderName, validateHeaderValue } from "node:http";
import { Socket } from "node:net";

/** What `writeHead` calls, though no type declares it: a status line, which is taken as it is, and fields, which are checked. */
type StoreHeader = (this: ServerResponse, statusLine: string, fields: unknown) => void;
type Heading = ServerResponse & { _storeHeader?: StoreHeader };

const { _storeHeader: store } = ServerResponse.prototype as Heading;

/** The text that goes behind the status line of the head that is being written. */
let pending = "";

const storeBehindText: StoreHeader = function (this: ServerResponse, statusLine, fields) {
  const text = pending;
  pending = "";
  store?.call(this, statusLine + text, fields);
};

export interface FixedFields {
  /** Names in lower case and values, in turn. */
  readonly lines: readonly string[];
  /** The lines as they stand in a head, for `writeCheckedHead`. */
  readonly text: string;
  readonly names: ReadonlySet<string>;
}

/**
 * Fields that are the same in many answers.
 *
 * @param lines Names in lower case and values, in turn. None may be one that Node fills in or heeds: `connection`,
 *   `content-length`, `date`, `expect`, `keep-alive`, `trailer`, `transfer-encoding`.
 * @param more Names of further fields that go along with them.
 * @throws {TypeError} when a name or a value must not stand in a head (RFC 9110 §5.1, §5.5).
 */
export function fixedFields(lines: readonly string[], more: readonly string[] = []): FixedFields {
  let text = "";
  const names = new Set(more);
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const [name = "", value = ""] = lines.slice(index, index + 2);
    validateHeaderName(name);
    validateHeaderValue(name, value);
    names.add(name);
    text += `${name}: ${value}\r\n`;
  }
  return Object.freeze({ lines: Object.freeze([...lines]), text, names });
}

/**
 * `response.writeHead(status, fields)` with more fields, which go on the wire as they are.
 *
 * @param text Checked before: see `fixedFields`.
 * @param fields Names and values in turn.
 */
export function writeCheckedHead(
  response: ServerResponse,
  status: number,
  text: string,
  fields: readonly string[],
): void {
  if (!(response instanceof ServerResponse && passesTextOn())) {
    response.writeHead(status, [...fields, ...linesOf(text)]);
    return;
  }
  (response as Heading)._storeHeader = storeBehindText;
  pending = text;
  try {
    response.writeHead(status, fields as string[]);
  } finally {
    pending = "";
  }
}

function linesOf(text: string): string[] {
  return text
    .split("\r\n")
    .slice(0, -1)
    .flatMap((line) => {
      const end = line.indexOf(": ");
      return [line.slice(0, end), line.slice(end + 2)];
    });
}

let proven: boolean | undefined;

/** Whether this Node hands its status line to `_storeHeader`: a later one may not, and then all fields go by `writeHead`. */
function passesTextOn(): boolean {
  proven ??= provesToPassOn();
  return proven;
}

function provesToPassOn(): boolean {
  let isPassed = false;
  const response: Heading = new ServerResponse(new IncomingMessage(new Socket()));
  response._storeHeader = (statusLine) => {
    isPassed = statusLine === "HTTP/1.1 200 OK\r\n";
  };
  response.writeHead(200, ["x-name", "value"]);
  return isPassed && store !== undefined;
}
