/** The answer to bytes that never became a request: no Express and no record, so it is written by hand. */

import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { HeaderLines } from "../downstream/contract.ts";
import type { Connection } from "./connection.ts";

/** How long a connection on which nothing more will be answered may go on sending, or stay half open, ms. */
const LINGER_MS = 30_000;

/**
 * Answers, or closes, a connection whose bytes cannot be read on. RFC 9112 §2.2 and §6.1: the framing cannot be trusted
 * any more, so nothing behind it is processed. Answers that are due are given first: the caller would take this one for
 * theirs.
 */
export function endUnparsable(error: NodeJS.ErrnoException, connection: Connection, own: HeaderLines): void {
  const { socket } = connection;
  const newest = connection.newest();
  const isBroken = newest !== undefined && !newest.req.complete;
  const isDue = connection.open() > (isBroken ? 1 : 0);
  // One request is not answered twice, and a caller who has left is not waited for, nor written to: of a flood of
  // connections that are reset amid a head, answers that cannot arrive would be a fifth of all work.
  if (!socket.writable || (isBroken && newest.headersSent) || socket.readableEnded) {
    socket.destroy();
    return;
  }
  if (isDue) {
    socket.once("end", () => socket.destroy());
    connection.endAfterAnswers();
    return;
  }
  connection.endHere();
  writeRefusal(error, socket, own);
  // A caller that never closes its side would hold the connection, and no timeout of the server counts it any more.
  destroyAfterWhile(socket, socket);
}

function writeRefusal(error: NodeJS.ErrnoException, socket: Socket, own: HeaderLines): void {
  const correlationId = randomUUID();
  const [status, phrase] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, "Request Header Fields Too Large"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "Request Timeout"]
        : [400, "Bad Request"];
  const body = JSON.stringify({
    type: "urn:obo-gateway:problem:request_malformed",
    title: "The request is malformed",
    status,
    code: "request_malformed",
    detail: phrase,
    correlationId,
  });
  const ours = own.map((text, index) => (index % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join("");
  socket.end(
    `HTTP/1.1 ${status} ${phrase}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n` +
      `${ours}x-correlation-id: ${correlationId}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** Unless `over` closes first. At once would be too early: a reset while the caller still sends takes the answer with it. */
export function destroyAfterWhile(socket: Socket, over: Readable): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  over.once("close", () => clearTimeout(timer));
}
