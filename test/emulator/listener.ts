/** One HTTP or HTTPS listener that can be taken away, given a wrong certificate, and closed without waiting for anybody. */

import { once } from "node:events";
import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { ServerCertificate } from "./certificate-authority.ts";

export interface Listening {
  readonly port: number;
  serve(handler: RequestListener): void;
  /** Connections are refused from now on; open ones are cut. */
  suspend(): Promise<void>;
  /** Listens again, on the same port. */
  resume(): Promise<void>;
  useCertificate(certificate: ServerCertificate): void;
  close(): Promise<void>;
}

/** A token of a user in 200 groups has up to 24 KiB, past Node's default limit for all headers. */
const MAX_HEADER_BYTES = 64 * 1024;

export async function listen(options: {
  readonly host: string;
  readonly port: number;
  /** Without one the listener speaks plain HTTP. */
  readonly certificate?: ServerCertificate;
}): Promise<Listening> {
  const settings = { maxHeaderSize: MAX_HEADER_BYTES };
  const https = options.certificate && createHttpsServer({ ...settings, ...options.certificate });
  const server: Server | HttpsServer = https ?? createHttpServer(settings);
  // A stalled answer is a fault that a test asked for; the server must not end it first.
  server.requestTimeout = 0;

  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const cutConnections = () => {
    for (const socket of sockets) socket.destroy();
  };
  const open = async (port: number): Promise<number> => {
    server.listen(port, options.host);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const shut = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    cutConnections();
    await closed;
  };

  const port = await open(options.port);
  return {
    port,
    serve: (handler) => void server.on("request", handler),
    suspend: shut,
    async resume() {
      if (!server.listening) await open(port);
    },
    useCertificate(certificate) {
      https?.setSecureContext(certificate);
      cutConnections();
    },
    close: shut,
  };
}
