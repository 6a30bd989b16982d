/** The one file that imports undici: its client of one connection, the function that connects, and its agent where that is used. */

import type { Dispatcher } from "undici";
import buildConnector from "undici/lib/core/connect.js";
import Client from "undici/lib/dispatcher/client.js";

export type { Dispatcher };
export { buildConnector, Client };

export async function loadAgent() {
  return (await import("undici/lib/dispatcher/agent.js")).default;
}
