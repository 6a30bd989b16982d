/** A load balancer as there are many: asks each instance whether it is ready, and repeats only what was never sent. */

import { once } from "node:events";
import { Agent, createServer, get, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream";

export interface Instance {
  readonly url: string;
  readonly adminUrl: string;
}

export interface Balancer {
  readonly url: string;
  add(instance: Instance): void;
  /** Forgets an instance that is gone. */
  remove(instance: Instance): void;
  close(): void;
}

const HEALTH_INTERVAL_MS = 50;

export async function startBalancer(): Promise<Balancer> {
  const instances = new Map<Instance, { isReady: boolean; readonly agent: Agent }>();
  let turn = 0;

  const health = setInterval(() => {
    for (const [{ adminUrl }, state] of instances)
      get(`${adminUrl}/readyz`, { agent: false }, (answer) => {
        state.isReady = answer.statusCode === 200;
        answer.resume();
      }).on("error", () => {
        state.isReady = false;
      });
  }, HEALTH_INTERVAL_MS);

  function pass(incoming: IncomingMessage, outgoing: ServerResponse, refusedBy: readonly Instance[]): void {
    const candidates = [...instances].filter(
      ([instance, { isReady }]) => isReady && !refusedBy.includes(instance),
    );
    const chosen = candidates[turn++ % Math.max(1, candidates.length)];
    if (chosen === undefined) {
      outgoing.writeHead(503).end("no instance is ready");
      return;
    }
    const [instance, { agent }] = chosen;
    const { method = "GET", headers } = incoming;
    const sent = request(instance.url + incoming.url, { agent, method, headers }, (answer) => {
      const { connection: _, ...passed } = answer.headers;
      outgoing.writeHead(answer.statusCode ?? 0, passed);
      pipeline(answer, outgoing, () => {});
    });
    sent.on("error", (error: NodeJS.ErrnoException) => {
      // Nothing was sent, not even the first byte of a body: the one case in which a repetition is always safe.
      if (error.code === "ECONNREFUSED") pass(incoming, outgoing, [...refusedBy, instance]);
      else if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(502).end(`${error.code}: ${error.message}`);
    });
    sent.once("socket", (socket) => {
      const send = () => void incoming.pipe(sent);
      if (socket.connecting) socket.once("connect", send);
      else send();
    });
  }

  const server = createServer((incoming, outgoing) => pass(incoming, outgoing, [])).listen(0, "127.0.0.1");
  // Longer than any pause of a test: a connection that ends as the next request sets out would lose it.
  server.keepAliveTimeout = 300_000;
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    add: (instance) =>
      void instances.set(instance, { isReady: false, agent: new Agent({ keepAlive: true }) }),
    remove(instance) {
      instances.get(instance)?.agent.destroy();
      instances.delete(instance);
    },
    close() {
      clearInterval(health);
      for (const { agent } of instances.values()) agent.destroy();
      server.close();
      server.closeAllConnections();
    },
  };
}
