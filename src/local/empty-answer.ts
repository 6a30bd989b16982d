/** An answer without a body, whose fields hold nothing but what was checked before. */

import type { ServerResponse } from "node:http";

/** Node's own, which no type declares: puts a head together of a first line, which it takes as it is, and of fields, which it checks. */
type Heading = ServerResponse & {
  _storeHeader?(firstLine: string, fields: readonly string[]): void;
};

const NO_BODY: readonly string[] = Object.freeze(["content-length", "0"]);

/**
 * A 200. Node looks at each character of each value that it is given, which is a tenth of a decision for a token of 2,000.
 * So the fields ride behind the status, where they are not looked at, unless others have been set on the response.
 *
 * @param lines Each a name, a colon and a blank, a value of visible ASCII, and a line break.
 */
export function writeEmptyAnswer(response: ServerResponse, lines: string): void {
  const { _storeHeader: store } = response as Heading;
  if (store !== undefined && response.getHeaderNames().length === 0)
    store.call(response, `HTTP/1.1 200 OK\r\n${lines}`, NO_BODY);
  else response.writeHead(200, [...NO_BODY, ...fieldsOf(lines)]);
  response.end();
}

function fieldsOf(lines: string): string[] {
  return lines
    .split("\r\n")
    .slice(0, -1)
    .flatMap((line) => {
      const end = line.indexOf(": ");
      return [line.slice(0, end), line.slice(end + 2)];
    });
}
