/** A port for a server that cannot be asked which one it took. */

import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below the ports that systems hand out for 0 (from 32768 on Linux, from 49152 elsewhere): one of those is soon some
 * other test's, which then gets the connections of whatever waits for this server to listen.
 */
const [LOWEST, HIGHEST] = [20_000, 32_000];

/** Free a moment ago; no more can be promised. */
export async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    const server = createServer();
    try {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      server.close();
      await once(server, "close");
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || attempt === 50) throw error;
    }
  }
}
