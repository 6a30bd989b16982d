/** Which requests may reach the local API at all: those of programs of this machine or pod, and of no web page. */

import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";

/** Any address of 127.0.0.0/8, `::1` as URLs spell it, and the one name that RFC 6761 §6.3 keeps on this machine. */
const LOOPBACK = /^(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|localhost)$/;

/**
 * A web page can lead a name of its own to 127.0.0.1 (DNS rebinding) and would then speak with this listener as its own
 * origin. The name stands in Host, so a request for any other name than the known ones is refused.
 *
 * @param hosts Names besides, in lower case.
 * @throws {GatewayError} `request_malformed`
 */
export function checkHost({ headers }: IncomingMessage, hosts: readonly string[]): void {
  const name = (headers.host ?? "").toLowerCase().replace(/:\d{1,5}$/, "");
  if (LOOPBACK.test(name) || hosts.includes(name)) return;
  throw new GatewayError("request_malformed", {
    detail: "This listener is not reached under that name; local.hosts lists names besides localhost.",
    reason: "foreign_host",
  });
}

/**
 * Browsers send one of these fields with every request of a page to another origin, and pages can change neither. No
 * client of these endpoints is a page.
 *
 * @throws {GatewayError} `target_forbidden`
 */
export function refuseBrowsers({ headers }: IncomingMessage): void {
  if (headers.origin === undefined && headers["sec-fetch-site"] === undefined) return;
  throw new GatewayError("target_forbidden", {
    detail: "These endpoints are for programs, and answer no request that a browser sends.",
    reason: "browser",
  });
}
