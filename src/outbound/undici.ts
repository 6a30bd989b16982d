/** The one file that imports undici: its client of one connection, and the function that connects. */

import { subscribe } from "node:diagnostics_channel";
import type { Dispatcher } from "undici";
import buildConnector from "undici/lib/core/connect.js";
import Client from "undici/lib/dispatcher/client.js";

export type { Dispatcher };
export { buildConnector, Client };

/** A request as undici publishes it: its fields by name and value, in turns. */
interface Published {
  readonly request: { readonly origin: unknown; readonly path: string; readonly headers: unknown };
}

/** Adds the field to the request that undici is making, while it makes one. */
let authorize: ((made: Published["request"]) => void) | undefined;

subscribe("undici:request:create", (message) => authorize?.((message as Published).request));

/**
 * Dispatches a request with an `Authorization` field whose characters have been checked (`Secret.authorization`). undici
 * looks through every character of every value of each request, which for a token of 2000 characters is a tenth of all
 * that a request with a cached token executes. So the field is added when undici publishes the request that it has made
 * (`undici:request:create`, its DiagnosticsChannel.md): before `dispatch` returns, and before anything is written.
 */
export function dispatchAuthorized(
  client: Client,
  options: Dispatcher.DispatchOptions & { readonly headers: string[] },
  authorization: string,
  handler: Dispatcher.DispatchHandler,
): void {
  if (!publishesFields()) {
    const headers = ["authorization", authorization, ...options.headers];
    client.dispatch({ ...options, headers }, handler);
    return;
  }
  authorize = ({ origin, path, headers }) => {
    // Others who listen to the channel may make a request of their own meanwhile, and the token is not for that one.
    if (origin !== options.origin || path !== options.path) return;
    authorize = undefined;
    (headers as string[]).push("authorization", authorization);
  };
  try {
    client.dispatch(options, handler);
  } finally {
    authorize = undefined;
  }
}

let proven: boolean | undefined;

/** Whether undici publishes a request at once, with its fields as an array: a later one may not, and then the fields stand in the request. */
function publishesFields(): boolean {
  proven ??= provesToPublish();
  return proven;
}

/** Makes a request that is never sent, because its connection never opens. */
function provesToPublish(): boolean {
  let isPublished = false;
  authorize = ({ path, headers }) => {
    isPublished = path === "/proof" && Array.isArray(headers) && headers.join() === "name,value";
  };
  const client = new Client("http://localhost", { connect: () => {} });
  const ignore = () => {};
  const handler = {
    onRequestStart: ignore,
    onResponseStart: ignore,
    onResponseEnd: ignore,
    onResponseError: ignore,
  };
  client.dispatch({ method: "GET", path: "/proof", headers: ["name", "value"] }, handler);
  authorize = undefined;
  client.destroy(ignore);
  return isPublished;
}
