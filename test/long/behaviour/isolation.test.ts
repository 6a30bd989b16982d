/** Thousands of requests of many users at once, some of whom leave early: nobody ever sees anything of another. */

import { Agent, request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { codeRoute } from "../../../src/http/code-route.ts";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

const USERS = 200;
const REQUESTS = 4_000;
const AT_ONCE = 150;
/** Whose answer it is, is looked at here, and not when it comes. */
const PATIENT = { EXCHANGE_TIMEOUT_MS: "60000", GRAPH_TIMEOUT_MS: "60000" };

/** Says who the gateway thinks is calling, and as whom Graph was called. */
const mirror = codeRoute({
  method: "get",
  path: "/api/mirror",
  policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
  uses: ["graph"],
  async handler({ principal }, response, { downstream }) {
    const me = await (await downstream.graph.get("/me")).json<{ id: string }>();
    response.json({ principal: principal.objectId, graph: me.id });
  },
});

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());

describe.each(["passport-azure-ad", "jose"])("with %s", (verifier) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator, routes: [mirror], env: { VERIFIER: verifier, ...PATIENT } });
  });
  afterAll(() => gateway.stop());

  test("every answer, and every token that reached Graph, is the caller's own", async () => {
    const users = Array.from({ length: USERS }, () => emulator.addUser());
    const tokens = users.map((user) => emulator.mintUserToken({ user }));
    const random = seeded(20_260_101);
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
    const seen = { answered: 0, left: 0 };

    async function call(): Promise<void> {
      const index = Math.floor(random() * USERS);
      const expected = users[index]?.objectId;
      const proxied = random() < 0.5;
      const leaveAfterMs = random() < 0.2 ? random() * 8 : undefined;
      const body = await get(
        `${gateway.url}${proxied ? "/graph/me" : "/api/mirror"}`,
        tokens[index] ?? "",
        agent,
        leaveAfterMs,
      );
      if (body === undefined) {
        seen.left++;
        return;
      }
      seen.answered++;
      const { id, principal, graph } = JSON.parse(body);
      expect(proxied ? [id] : [principal, graph]).toEqual(proxied ? [expected] : [expected, expected]);
    }

    let remaining = REQUESTS;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (remaining-- > 0) await call();
      }),
    );
    agent.destroy();
    expect(seen.answered + seen.left).toBe(REQUESTS);
    expect(seen.answered).toBeGreaterThan(REQUESTS / 2);
    expect(seen.left).toBeGreaterThan(0);
  }, 120_000);
});

/** The body of a 200; undefined when this caller left first. */
function get(
  url: string,
  token: string,
  agent: Agent,
  leaveAfterMs: number | undefined,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let left = false;
    const sent = request(url, { agent, headers: { authorization: `Bearer ${token}` } }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("error", (error) => (left ? resolve(undefined) : reject(error)));
      response.on("end", () => {
        clearTimeout(timer);
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`status ${response.statusCode}: ${text}`));
      });
    });
    sent.on("error", (error) => (left ? resolve(undefined) : reject(error)));
    sent.end();
    const timer =
      leaveAfterMs === undefined
        ? undefined
        : setTimeout(() => {
            left = true;
            sent.destroy();
            resolve(undefined);
          }, leaveAfterMs);
  });
}

/** A linear congruential generator: the same run every time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
