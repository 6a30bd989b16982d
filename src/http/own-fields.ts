/** Fields of every answer, the gateway's and the API's: the security fields, and the correlation id. */

import type { IncomingMessage, ServerResponse } from "node:http";
import helmet from "helmet";
import type { OwnFields } from "../downstream/contract.ts";

/** Helmet's defaults are the same for every request, so they are asked for once and written as lines from then on. */
export function securityFields(): OwnFields {
  const lines: string[] = [];
  const recorder = {
    setHeader(name: string, value: string | number | readonly string[]) {
      lines.push(name.toLowerCase(), String(value));
    },
    removeHeader() {},
  };
  let failure: unknown;
  helmet()({} as IncomingMessage, recorder as unknown as ServerResponse, (error) => {
    failure = error;
  });
  if (failure !== undefined) throw failure;
  return Object.freeze({
    lines: Object.freeze(lines),
    names: new Set([...lines.filter((_, index) => index % 2 === 0), "x-correlation-id"]),
  });
}

/** Sets them on an answer that is not the forwarder's, which writes them by itself. */
export function sayOwnFields(response: ServerResponse, { lines }: OwnFields, correlationId: string): void {
  for (let index = 0; index + 1 < lines.length; index += 2)
    response.setHeader(lines[index] as string, lines[index + 1] as string);
  response.setHeader("x-correlation-id", correlationId);
}
