/** New tokens, each of which needs one exchange with an authority that takes 20 ms. */

import { GATEWAY } from "../contenders.ts";
import { type Round, run } from "../rounds.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median } from "../statistics.ts";
import { load, type Rotation, rotate } from "../wire.ts";

const AUTHORITY_MS = 20;
/** Few, so that the time of a request is not that of a queue. */
const CONNECTIONS = 4;
const CALLERS = 1_000;

export const miss: Scenario = {
  name: "miss",
  async run(stage) {
    const { authority } = stage;
    const warmUp = await stage.newTokens(stage.quick ? 120 : 500);
    const tokens = await stage.newTokens(stage.quick ? 200 : 1_000);
    const [shared = ""] = await stage.newTokens(1);
    const server = await stage.known(GATEWAY);
    authority.answerAfter(AUTHORITY_MS);

    const once = (rotation: Rotation): Promise<Round> =>
      run(
        { name: GATEWAY.name, server, rotation, connections: CONNECTIONS, bodyBytes: SMALL_BODY_BYTES },
        { requests: rotation.users },
      );
    for (const path of ["/graph/me", "/orders/me", "/orders/me"]) await once(rotate(path, warmUp));
    authority.takeDurations();
    const fresh = await once(rotate("/graph/me", tokens));
    const authorityMs = median(authority.takeDurations());
    const secondApi = await once(rotate("/orders/me", tokens));
    const hit = await once(rotate("/orders/me", tokens));

    authority.takeDurations();
    await load({
      port: server.port,
      rotation: rotate("/graph/me", [shared]),
      connections: CALLERS,
      until: { requests: CALLERS },
      bodyBytes: SMALL_BODY_BYTES,
    });
    const posts = authority.takeDurations().length;

    const exchangeMs = (secondApi.processorUs - hit.processorUs) / 1000;
    const addedMs = fresh.p50 - authorityMs;
    return {
      title: `miss path: ${tokens.length} new tokens, ${CONNECTIONS} connections, an authority over TLS that took ${authorityMs.toFixed(1)} ms`,
      columns: [
        { name: "CPU µs/req", digits: 0 },
        { name: "p50 ms", digits: 1 },
        { name: "p99 ms", digits: 1 },
      ],
      rows: [
        { name: "new token: verify, exchange, forward", figures: [fresh.processorUs, fresh.p50, fresh.p99] },
        {
          name: "verified token, new API: exchange, forward",
          figures: [secondApi.processorUs, secondApi.p50, secondApi.p99],
        },
        { name: "hit: forward", figures: [hit.processorUs, hit.p50, hit.p99] },
      ],
      targets: [
        {
          what: "CPU of one exchange, TLS included, ms",
          value: exchangeMs,
          digits: 2,
          limit: { atMost: 1.1 },
        },
        {
          what: "p50 of a new token beyond the authority's time, ms",
          value: addedMs,
          digits: 1,
          limit: { atMost: 2.5 },
        },
        {
          what: `token requests for ${CALLERS} callers of one new token`,
          value: posts,
          digits: 0,
          limit: { atMost: 1 },
        },
      ],
    };
  },
};
