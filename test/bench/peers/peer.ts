/** What every peer is told, and how it says that it is there. */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface PeerSettings {
  readonly apiUrl: string;
  readonly authorityHost: string;
  readonly tenantId: string;
  readonly clientId: string;
  readonly certificateFile: string;
}

export function settings(): PeerSettings {
  return JSON.parse(process.env.PEER_SETTINGS ?? "{}");
}

export function announce(server: Server): void {
  // Others warm up, and have their rounds, while its connections are at rest.
  server.keepAliveTimeout = 120_000;
  server.listen(0, "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
  });
  process.on("SIGTERM", () => process.exit(0));
}
