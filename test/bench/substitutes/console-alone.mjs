/**
 * The console and the admin listener without a gateway, fed with the ends of requests at a steady rate: what the process
 * takes more than with an observer that only counts is the console's, to a hundredth of what a whole gateway takes.
 */

import { randomUUID } from "node:crypto";
import { createConsole } from "../../../dist/console/console.js";
import { listenForAdmin } from "../../../dist/http/admin.js";

const TURN_MS = 10;
const USERS = 100;

const ignore = () => {};
let counted = 0;
const counting = {
  requests: { began: ignore, ended: () => void counted++ },
  ...{ identity: ignore, downstream: ignore, rateLimit: ignore, load: ignore, connection: ignore },
};
const flow = await createConsole({ explain: ignore, now: Date.now });
const admin = await listenForAdmin({
  host: "127.0.0.1",
  port: 0,
  pages: async () => ({ status: 404, contentType: "text/plain", body: "" }),
  maxBusyMs: 500,
  hosts: [],
  console: flow,
});
const watched = flow.tap(counting);
const callers = Array.from({ length: USERS }, () => ({
  principal: { tenantId: randomUUID(), objectId: randomUUID(), clientId: randomUUID() },
}));

let observer = counting;
let perTurn = 0;
let serial = 0;
setInterval(() => {
  for (let request = 0; request < perTurn; request += 1) {
    const record = {
      correlationId: randomUUID(),
      startedAt: performance.now() - 3,
      route: "/graph",
      caller: callers[serial++ % USERS],
      refusal: undefined,
      tokenOrigin: "cache",
      tokenRequest: undefined,
      verifyMs: 0.021,
      exchangeMs: 0.013,
      downstreamMs: 2.125,
      downstreamStatus: 200,
    };
    observer.requests.began(record);
    observer.requests.ended(record, { method: "GET", status: 200, completed: true });
  }
}, TURN_MS);

process.on("message", ({ isWatched, perSecond }) => {
  observer = isWatched ? watched : counting;
  perTurn = (perSecond * TURN_MS) / 1_000;
  process.send(counted);
});
console.log(JSON.stringify({ port: admin.port, adminPort: admin.port }));
