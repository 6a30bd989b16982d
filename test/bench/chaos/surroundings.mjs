/**
 * Loaded into a replica before the gateway: its host's clock and its resolver, which the chaos run changes by messages.
 * The gateway's own code stays as it is built.
 */

import dns from "node:dns";
import { syncBuiltinESMExports } from "node:module";

let clockOffsetMs = 0;
let isResolverGone = false;

process.on("message", (message) => {
  clockOffsetMs = message.clockOffsetMs ?? clockOffsetMs;
  isResolverGone = message.isResolverGone ?? isResolverGone;
  process.send?.("done");
});
process.channel?.unref();

const HostDate = globalThis.Date;
const hostNow = HostDate.now;
globalThis.Date = new Proxy(HostDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [hostNow() + clockOffsetMs] : args, newTarget),
});
HostDate.now = () => hostNow() + clockOffsetMs;

const { lookup } = dns;
dns.lookup = function lookupUnlessGone(hostname, ...rest) {
  if (!isResolverGone) return lookup.call(dns, hostname, ...rest);
  const error = Object.assign(new Error(`getaddrinfo EAI_AGAIN ${hostname}`), {
    code: "EAI_AGAIN",
    syscall: "getaddrinfo",
    hostname,
  });
  process.nextTick(rest.at(-1), error);
  return {};
};
syncBuiltinESMExports();
