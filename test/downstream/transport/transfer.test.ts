import http from "node:http";
import net from "node:net";
import { describe, expect, test } from "@jest/globals";
import type { TransferObserver } from "../../../src/downstream/contract.ts";
import { apiAt } from "../api-options.ts";
import { call, createInbox, listen, startApi, startGateway } from "../support.ts";

/** A record that notes what telemetry is told. */
function recorded() {
  const told: string[] = [];
  const transfers: TransferObserver = {
    sent: () => told.push("sent"),
    repeated: () => told.push("repeated"),
    left: () => told.push("left"),
    answered: (_api, status) => told.push(`answered ${status}`),
    failed: (_api, code) => told.push(`failed ${code}`),
  };
  const record = {
    transfers,
    trace: undefined,
    downstreamMs: undefined,
    downstreamRequestId: undefined,
    throttleMs: undefined,
    downstreamStatus: undefined,
    cut: undefined,
  };
  return { told, record };
}

describe("a request to an API", () => {
  test("that cannot be connected to is tried once more, fails once, and is not abandoned besides", async () => {
    const vacated = net.createServer();
    const port = await listen(vacated);
    await new Promise((resolve) => vacated.close(resolve));
    const { told, record } = recorded();
    const gateway = await startGateway({ api: apiAt(port), forward: { record } });
    await call(gateway.url("/graph/me"));
    expect(told).toEqual(["sent", "repeated", "left", "failed downstream_unreachable"]);
  });

  test("that its caller gives up is abandoned once", async () => {
    const requests = createInbox<http.IncomingMessage>();
    const port = await startApi((request) => requests.put(request));
    const { told, record } = recorded();
    const gateway = await startGateway({ api: apiAt(port), forward: { record } });
    const caller = http.get(gateway.url("/graph/me"), { agent: false }).on("error", () => {});
    await requests.next();
    caller.destroy();
    await gateway.outcomes.next();
    expect(told).toEqual(["sent", "left", "failed abandoned"]);
  });
});
