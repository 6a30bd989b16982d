/** The whole gateway and the doctor where Entra, Graph and the collector can only be reached through a proxy. */

import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { describeWithProxies, type ForwardProxy, startForwardProxy } from "../../support/forward-proxy.ts";
import { startCollector } from "../../support/otlp-collector.ts";
import {
  type EmulatorProcess,
  environmentFor,
  type GatewayProcess,
  runDoctor,
  startEmulatorProcess,
  startGatewayProcess,
} from "../../support/processes.ts";

const LIMIT_MS = 120_000;

async function mint({ facts }: EmulatorProcess): Promise<string> {
  const response = await fetch(`${facts.controlUrl}/tokens`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user: "ada", capabilities: ["cp1"] }),
  });
  return ((await response.json()) as { token: string }).token;
}

describeWithProxies(
  "a gateway behind a corporate proxy",
  (kind) => {
    let emulator: EmulatorProcess;
    let proxy: ForwardProxy;
    const started: GatewayProcess[] = [];
    // A process that a failed test leaves behind would keep the test runner from ending.
    afterEach(async () => {
      await Promise.all(started.splice(0).map((gateway) => gateway.kill()));
    });
    beforeAll(async () => {
      [emulator, proxy] = await Promise.all([startEmulatorProcess(), startForwardProxy(kind)]);
    }, LIMIT_MS);
    afterAll(async () => {
      await Promise.all([emulator.stop(), proxy.close()]);
    });

    test(
      "reaches Entra, its keys, Graph and the collector of traces through it, and what NO_PROXY names directly",
      async () => {
        const collector = await startCollector();
        const { facts } = emulator;
        const [entra, graph] = [new URL(facts.authorityHost), new URL(facts.graphUrl)];
        const proxied = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url };
        const gateway = await startGatewayProcess(facts, {
          credential: "workload-identity",
          env: {
            ...proxied,
            OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
            OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
          },
        });
        started.push(gateway);
        const answer = await fetch(`${gateway.url}/graph/me`, {
          headers: { authorization: `Bearer ${await mint(emulator)}` },
        });
        expect(answer.status).toBe(200);
        const logged = await gateway.logged(
          "connections go through proxies of the environment, which resolve names: there private addresses are refused only where a URL spells them",
        );
        expect(JSON.stringify(logged)).not.toContain("passw0rd");
        await gateway.stop();

        const asked = await proxy.requests();
        expect(asked).toContain(`CONNECT ${entra.host}`);
        expect(asked).toContain(`CONNECT ${graph.host}`);
        expect(asked).toContain(`POST ${collector.url}/v1/traces`);
        expect(collector.spans().length).toBeGreaterThan(0);
        await collector.close();

        const before = asked.length;
        const direct = await startGatewayProcess(facts, {
          credential: "workload-identity",
          env: { ...proxied, NO_PROXY: `example.com, ${graph.host}` },
        });
        started.push(direct);
        const again = await fetch(`${direct.url}/graph/me`, {
          headers: { authorization: `Bearer ${await mint(emulator)}` },
        });
        expect(again.status).toBe(200);
        await direct.stop();
        const later = (await proxy.requests()).slice(before);
        expect(new Set(later)).toEqual(new Set([`CONNECT ${entra.host}`]));
      },
      LIMIT_MS,
    );

    test(
      "is found working by the doctor, which takes the same way",
      async () => {
        const before = (await proxy.requests()).length;
        const { code, stdout } = await runDoctor({
          ...environmentFor(emulator.facts, "workload-identity"),
          GATEWAY_CONFIG: "config/demo.yaml",
          PORT: "0",
          ADMIN_PORT: "0",
          HTTPS_PROXY: proxy.url,
          HTTP_PROXY: proxy.url,
        });
        expect(`${code}\n${stdout}`).toMatch(/^0\n/);
        const asked = (await proxy.requests()).slice(before);
        expect(asked).toContain(`CONNECT ${new URL(emulator.facts.authorityHost).host}`);
        expect(asked.includes(`CONNECT ${new URL(emulator.facts.graphUrl).host}`)).toBe(true);
      },
      LIMIT_MS,
    );
  },
  // One kind is enough for whole processes; test/outbound proves each connection with the other, too.
  ["tinyproxy"],
);
