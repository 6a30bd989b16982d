/** Refuses a message that would be served as something else than its sender meant, or that two servers could read in two ways. */

import type { IncomingMessage } from "node:http";
import type { Request, Response } from "express";
import { readFraming } from "../downstream/forward.ts";
import { GatewayError } from "../errors.ts";
import { connectionOf } from "./connection.ts";

/** Fields of one request. Node's own limit, past which it would drop what is left. */
const MOST_FIELDS = 2_000;

/** Fields by which frameworks let a POST stand for another method. */
const METHOD_OVERRIDES = [
  "x-http-method",
  "x-http-method-override",
  "x-http-methods-override",
  "x-method-override",
] as const;

/**
 * A message whose bounds or target are in doubt is the last of its connection: what follows on it may have been part of
 * it for the server before this one (RFC 9112 §6.3, §11.2).
 *
 * @throws {GatewayError} `request_malformed`
 */
export function checkMessage(request: Request, response: Response): void {
  try {
    checkFields(request);
    readFraming(request);
    checkUpgrade(request);
  } catch (error) {
    response.shouldKeepAlive = false;
    connectionOf(request.socket)?.endHere();
    throw error;
  }
  checkMethod(request);
}

function checkFields({ rawHeaders, httpVersion }: IncomingMessage): void {
  if (rawHeaders.length > MOST_FIELDS * 2)
    throw malformed("header_fields", `The request has more than ${MOST_FIELDS} header fields.`);
  // RFC 9112 §3.2: one Host, no more and no less; Node drops all but the first.
  if (httpVersion === "1.1" && hostsIn(rawHeaders) !== 1)
    throw malformed("host", "The request must have one Host field.");
}

function hostsIn(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  return hosts;
}

/**
 * A client that asks for another protocol would take the answer in HTTP for a failure without a reason. HTTP/2 alone is
 * ignored, as RFC 9110 §7.8 allows: clients offer it with ordinary requests, and go on in HTTP/1.1.
 */
function checkUpgrade({ headers: { upgrade } }: IncomingMessage): void {
  if (upgrade === undefined || upgrade.toLowerCase() === "h2c") return;
  throw malformed("upgrade", "This gateway does not change the protocol. Send the request without Upgrade.");
}

function checkMethod({ method = "", headers }: IncomingMessage): void {
  for (const name of METHOD_OVERRIDES) {
    const meant = headers[name];
    if (meant === undefined || meant === method) continue;
    throw malformed(
      "method_override",
      `Send the request with the method that ${name} names, without the field.`,
    );
  }
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}
