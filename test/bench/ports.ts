/** A port for a server that has to be told one. */

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";

/** Free a moment ago; nobody can promise more. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
