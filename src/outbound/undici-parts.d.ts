/** The modules of undici that are loaded, as far as they are used. */

// Its main entry also loads fetch, web sockets, caches and mocks, which is two thirds of it, and puts its own agent
// behind the `fetch` of the process.
declare module "undici/lib/dispatcher/client.js" {
  export { Client as default } from "undici";
}

declare module "undici/lib/core/connect.js" {
  export { buildConnector as default } from "undici";
}
