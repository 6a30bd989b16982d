/** The tour of `--mcp`: an SDK's client signs in through the bridge, calls tools, and is carried through MFA in mid-call. */

import { readFileSync } from "node:fs";
import { Agent as HttpAgent, fetch as undiciFetch } from "undici";
import { createPerson } from "../emulator/person.ts";
import { type Agent, createAgent } from "../support/mcp-clients.ts";
import type { EmulatorFacts, GatewayProcess } from "../support/processes.ts";
import { type Control, expect, type Step } from "./tour.ts";

export interface McpTour {
  readonly steps: readonly Step[];
  close(): Promise<void>;
}

export function createMcpTour(facts: EmulatorFacts, gateway: GatewayProcess, control: Control): McpTour {
  const server = `${gateway.url}/mcp/everything`;
  const browser = new HttpAgent({ connect: { ca: readFileSync(facts.caFile, "utf8") } });
  const person = createPerson(facts.authorityHost, (url, init) =>
    undiciFetch(url, { ...init, dispatcher: browser }),
  );
  const agentAt = (url: string, tool: { name: string; arguments: Record<string, unknown> }): Agent =>
    createAgent({ sdk: "v2", url, person, user: "ada", renews: true, tool });
  const agent = agentAt(server, { name: "get-sum", arguments: { a: 19, b: 23 } });
  const graph = agentAt(`${gateway.url}/mcp/graph`, { name: "graph_call", arguments: { path: "/me" } });

  const call = async (body: object, token?: string) =>
    fetch(server, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...body }),
    });

  let carriedAt = 0;
  const steps: Step[] = [
    {
      title: "a client that knows the address alone learns where to sign in",
      async run() {
        const refused = await call({ method: "tools/list" });
        expect("status", refused.status, 401);
        const [, metadata = ""] =
          /resource_metadata="([^"]+)"/.exec(refused.headers.get("www-authenticate") ?? "") ?? [];
        const document = (await (await fetch(metadata)).json()) as Record<string, unknown>;
        expect("resource", document.resource, server);
        return `401, ${metadata} names ${String(document.authorization_servers)}`;
      },
    },
    {
      title: "an SDK's client signs in through the bridge and calls a tool of the public server-everything",
      async run() {
        const outcome = await agent.call();
        expect("outcome", outcome.result, "answered");
        expect("sign-ins", outcome.signIns, 1);
        return `${textOf(agent)}, after one sign-in at Entra`;
      },
    },
    {
      title: "a tool that the route closes is a tool that is not there",
      async run() {
        const answer = await call(
          { method: "tools/call", params: { name: "get-env", arguments: {} } },
          String(agent.tokens()?.access_token),
        );
        const { error } = (await answer.json()) as { error: { code: number; message: string } };
        expect("code", error.code, -32602);
        return `${error.code}: ${error.message}`;
      },
    },
    {
      title:
        "Conditional Access wants MFA in mid-call: the client is carried through it, and the call succeeds",
      async run() {
        const requirement = await control.post("/users/ada/require-mfa");
        carriedAt = Date.now();
        // Takes the place in the cache, so that Ada's next call is an exchange.
        await call({ method: "ping" }, await control.mint({ user: "grace" }));
        const outcome = await agent.call();
        await control.delete(`/interventions/${requirement.id}`);
        expect("outcome", outcome.result, "answered");
        expect("sign-ins", outcome.signIns, 1);
        const scope = agent.opened.at(-1)?.searchParams.get("scope") ?? "";
        expect("whether the claims rode in the scope", /urn:obo-gateway:/.test(scope), true);
        return `${textOf(agent)}, after one sign-in with a second factor`;
      },
    },
    {
      title: "the audit line says who called, for whom, and with which credential",
      async run() {
        const line = await gateway.audited(
          "the call after MFA",
          ({ event, time }) => event === "tool_called" && Date.parse(String(time)) >= carriedAt,
        );
        expect("tool", line.tool, "get-sum");
        expect("client", line.azp, facts.publicClientId);
        const exchange = await gateway.audited(
          "the exchange for that call",
          ({ event, token }) => event === "exchange_granted" && token === line.token,
        );
        expect("user", exchange.oid, line.oid);
        const { azp, oid, tool, token } = line;
        return `client ${azp} called ${tool} for user ${oid} with token ${token}, which Entra gave for the gateway's ${exchange.credential} (generation ${exchange.credentialGeneration})`;
      },
    },
    {
      title: "Graph as three tools: a call as the user",
      async run() {
        const outcome = await graph.call();
        expect("outcome", outcome.result, "answered");
        const { displayName } = JSON.parse(textOf(graph)) as { displayName: string };
        return `graph_call GET /me: ${displayName}`;
      },
    },
  ];
  return {
    steps,
    async close() {
      await Promise.allSettled([agent.close(), graph.close()]);
      await browser.close();
    },
  };
}

function textOf({ answers }: Agent): string {
  const { content } = answers.at(-1) as { content: { text: string }[] };
  return content[0]?.text ?? "";
}
