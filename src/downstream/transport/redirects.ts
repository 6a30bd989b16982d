/** Follows redirects for the APIs that opt in, and sees to it that a token never leaves the API's own origin. */

import { GatewayError } from "../../errors.ts";
import type {
  AnswerHeaders,
  AnswerReceiver,
  HeaderLines,
  Target,
  Transfer,
  Transport,
  TransportRequest,
} from "../contract.ts";
import { readBaseUrl } from "../target/downstream-api.ts";

/** Redirects that keep GET and HEAD as they are (RFC 9110 §15.4). */
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** What another origin may hear of the caller: which form of the file, and which part of it. */
const FIELDS_ELSEWHERE: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range",
]);

const MAX_HOPS = 5;
/** A longer address is passed on rather than asked for; bytes. */
const MAX_LOCATION = 16_384;
/** The body of a redirect is read up to here, so that its connection stays of use; bytes. */
const MAX_REDIRECT_BODY = 65_536;

/**
 * The same transport for APIs that say `followRedirects`, following GET and HEAD:
 *
 * - below the API's base URL with all that the request carried, if the route would have let the caller ask for it;
 * - to any other origin by https alone, without the token and with nothing of the caller but `FIELDS_ELSEWHERE`. The
 *   token does not come back when a later hop leads to the API again.
 *
 * A first redirect that cannot be followed is the answer, as without the option. Where one has been followed the next
 * must be too: it fails as `downstream_unreachable` with the reason `redirect_refused`, `redirect_loop` or, after five,
 * `redirect_limit`. An address that a redirect names may itself be a credential, so no error holds one.
 *
 * The receiver hears of the last answer only, so its deadline is one for all hops.
 */
export function followRedirects(transport: Transport): Transport {
  return {
    ...transport,
    send(request, receiver) {
      const { method, body } = request;
      const follows = method === "GET" || method === "HEAD";
      return follows && body === undefined
        ? send(transport, request, receiver)
        : transport.send(request, receiver);
    },
  };
}

function send(transport: Transport, first: TransportRequest, receiver: AnswerReceiver): Transfer {
  const transfers: Transfer[] = [];
  const visited = new Set<string>();
  let aborted = false;

  function hop(request: TransportRequest): void {
    const { origin, path } = request.target;
    const isElsewhere = request.headers !== first.headers;
    visited.add(origin + path);
    let discarded: number | undefined;
    let transfer: Transfer | undefined;

    const head = (status: number, headers: AnswerHeaders) => {
      if (!REDIRECTS.has(status)) {
        receiver.head(status, headers, isElsewhere);
        return;
      }
      const next = nextRequest(request, headers.location, isElsewhere);
      const obstacle = obstacleTo(next, visited);
      if (next !== undefined && obstacle === undefined) {
        discarded = 0;
        hop(next);
      } else if (request === first) {
        receiver.head(status, headers, false);
      } else {
        discarded = 0;
        transfer?.abort();
        receiver.failed(notFollowed(obstacle ?? "redirect_refused"));
      }
    };
    transfer = transport.send(request, {
      head,
      chunk(chunk) {
        if (discarded === undefined) {
          receiver.chunk(chunk);
          return;
        }
        discarded += chunk.length;
        if (discarded > MAX_REDIRECT_BODY) transfer?.abort();
      },
      end() {
        if (discarded === undefined) receiver.end();
      },
      failed(error) {
        if (discarded === undefined) receiver.failed(isElsewhere ? failedElsewhere(error) : error);
      },
    });
    // An answer never comes before `send` returns, so a later hop stands later in the list.
    transfers.push(transfer);
    if (aborted) transfer.abort();
  }
  hop(first);

  return {
    pause: () => transfers.at(-1)?.pause(),
    resume: () => transfers.at(-1)?.resume(),
    abort() {
      aborted = true;
      for (const transfer of transfers) transfer.abort();
    },
  };
}

function nextRequest(
  from: TransportRequest,
  location: string | readonly string[] | undefined,
  isElsewhere: boolean,
): TransportRequest | undefined {
  const { target, headers } = from;
  const url = readLocation(target, location);
  if (url === undefined) return undefined;
  const path = url.pathname + url.search;
  const { api } = target;
  if (!isElsewhere && url.origin === readBaseUrl(api).origin) {
    const below = targetBelow(target, path);
    return below && { ...from, target: below };
  }
  if (url.protocol !== "https:") return undefined;
  return {
    ...from,
    target: { api, origin: url.origin, path },
    headers: isElsewhere ? headers : fieldsElsewhere(headers),
  };
}

/** The fragment is for the program that shows the answer (RFC 9110 §10.2.2). An address with a name and password is not followed. */
function readLocation(
  { origin, path }: Target,
  location: string | readonly string[] | undefined,
): URL | undefined {
  if (typeof location !== "string" || location.length > MAX_LOCATION) return undefined;
  // The URL parser would drop tabs and encode what is not ASCII; two readers of either may differ.
  if (!/^[\x21-\x7e]+$/.test(location) || !URL.canParse(location, origin + path)) return undefined;
  const url = new URL(location, origin + path);
  return url.username + url.password === "" ? url : undefined;
}

/** The target, if the route would have let the caller ask for it. */
function targetBelow(target: Target, path: string): Target | undefined {
  try {
    return target.redirected?.(path);
  } catch (error) {
    if (error instanceof GatewayError) return undefined;
    throw error;
  }
}

function obstacleTo(next: TransportRequest | undefined, visited: ReadonlySet<string>): string | undefined {
  if (next === undefined) return "redirect_refused";
  if (visited.has(next.target.origin + next.target.path)) return "redirect_loop";
  return visited.size > MAX_HOPS ? "redirect_limit" : undefined;
}

function fieldsElsewhere(lines: HeaderLines): string[] {
  return lines.filter((_, index) => FIELDS_ELSEWHERE.has(lines[index - (index % 2)] ?? ""));
}

function notFollowed(reason: string): GatewayError {
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API redirected to where the gateway does not follow.",
    reason,
  });
}

/** Not the API's own reason, whose remedy is a setting of the API: that does not help where its redirect leads. */
function failedElsewhere(error: GatewayError): GatewayError {
  return error.reason === "private_address" ? notFollowed("redirect_private_address") : error;
}
