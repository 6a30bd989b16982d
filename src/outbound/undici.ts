/** The one file that imports undici: its client of one connection, its agent, and the function that connects. */

import type { Dispatcher } from "undici";
import buildConnector from "undici/lib/core/connect.js";
import Agent from "undici/lib/dispatcher/agent.js";
import Client from "undici/lib/dispatcher/client.js";

export type { Dispatcher };
export { Agent, buildConnector, Client };
