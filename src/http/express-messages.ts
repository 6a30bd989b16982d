/** Request and response classes that an Express app need not re-parent. */

import { IncomingMessage, type RequestListener, type ServerOptions, ServerResponse } from "node:http";

/**
 * Express gives each request and response the prototypes `app.request` and `app.response`. Changing the prototype of
 * a living object sends every later access to it down V8's slow path. Here the server constructs them with those
 * prototypes, which makes Express' own assignment a no-op. Any other listener gets node:http's classes.
 */
export function messageClasses(listener: RequestListener): ServerOptions {
  const app = listener as { request?: object; response?: object };
  if (app.request === undefined || app.response === undefined) return {};

  class ExpressRequest extends IncomingMessage {}
  class ExpressResponse extends ServerResponse {}
  app.request = Object.setPrototypeOf(ExpressRequest.prototype, app.request);
  app.response = Object.setPrototypeOf(ExpressResponse.prototype, app.response);
  return { IncomingMessage: ExpressRequest, ServerResponse: ExpressResponse as typeof ServerResponse };
}
