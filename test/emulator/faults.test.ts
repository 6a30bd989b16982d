import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type { FaultBehaviour, FaultEndpoint } from "./fault.ts";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterEach(() => client.emulator.faults.clear());
afterAll(() => client.close());

const inject = (behaviour: FaultBehaviour, endpoint: FaultEndpoint = "token") =>
  client.emulator.faults.inject({ endpoint, behaviour });
const keysUrl = () => `${client.emulator.authorityHost}${client.emulator.tenantId}/discovery/v2.0/keys`;

describe("instead of the real answer", () => {
  test("JSON with a status and Retry-After", async () => {
    inject({ kind: "json", status: 503, retryAfter: 30 });
    const answer = await client.exchange();
    expect([answer.status, answer.headers.get("retry-after"), answer.body.error]).toEqual([
      503,
      "30",
      "temporarily_unavailable",
    ]);
  });

  test("text, HTML, a redirect, a body of any JSON value", async () => {
    inject({ kind: "text", status: 429, retryAfter: 60 });
    const text = await client.exchange();
    expect([text.status, text.headers.get("content-type"), text.body.text]).toEqual([
      429,
      "text/plain; charset=utf-8",
      "Too Many Requests",
    ]);
    client.emulator.faults.clear();

    inject({ kind: "html" });
    const html = await client.exchange();
    expect([html.status, html.headers.get("content-type")]).toEqual([502, "text/html; charset=utf-8"]);
    client.emulator.faults.clear();

    inject({ kind: "redirect", location: "https://elsewhere.example/" }, "keys");
    const redirect = await client.getJson(keysUrl());
    expect([redirect.status, redirect.headers.get("location")]).toEqual([302, "https://elsewhere.example/"]);
    client.emulator.faults.clear();

    inject({ kind: "json", status: 200, body: null }, "keys");
    expect((await client.getJson(keysUrl())).body).toEqual({ value: null });
  });

  test("a huge body", async () => {
    inject({ kind: "huge", bytes: 100_000 }, "keys");
    expect((await (await client.fetch(keysUrl())).text()).length).toBe(100_000);
  });
});

describe("around the real answer", () => {
  test("members set and removed", async () => {
    inject({ kind: "patch", set: { expires_in: "soon" }, remove: ["access_token"] });
    const { body } = await client.exchange();
    expect(body.expires_in).toBe("soon");
    expect(body).not.toHaveProperty("access_token");
    expect(body.token_type).toBe("Bearer");
  });

  test("cut in the middle of its JSON, yet well framed", async () => {
    inject({ kind: "truncated" }, "keys");
    const text = await (await client.fetch(keysUrl())).text();
    expect(() => JSON.parse(text)).toThrow();
    expect(text).toMatch(/^\{"keys":/);
  });

  test("a byte at a time", async () => {
    inject({ kind: "drip", intervalMs: 0 }, "instance-discovery");
    const response = await client.fetch(`${client.emulator.authorityHost}common/discovery/instance`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of response.body ?? []) chunks.push(chunk);
    expect(chunks.length).toBeGreaterThan(10);
    expect(JSON.parse(Buffer.concat(chunks).toString())).toHaveProperty("metadata");
  });

  test.each(["before-headers", "amid-body"] as const)("a connection that dies %s", async (when) => {
    inject({ kind: "reset", when }, "keys");
    const whole = client.fetch(keysUrl()).then((response) => response.text());
    await expect(whole).rejects.toThrow();
  });

  test.each(["before-headers", "amid-body"] as const)("a connection that falls silent %s", async (when) => {
    inject({ kind: "stall", when }, "keys");
    const leave = new AbortController();
    const whole = client.fetch(keysUrl(), { signal: leave.signal }).then((response) => response.text());
    await client.emulator.requests.until(({ pending }) => pending.keys > 0);
    leave.abort();
    await expect(whole).rejects.toThrow("aborted");
    await client.emulator.requests.until(({ pending }) => pending.keys === 0);
    expect(client.emulator.requests.keys.at(-1)).toMatchObject({ faulted: true, aborted: true });
  });

  test("a delay", async () => {
    inject({ kind: "delay", ms: 1 });
    expect(aadsts(await client.exchange())).toBe(0);
  });

  test("held until released, however many wait", async () => {
    const fault = inject({ kind: "hold" });
    const waiting = Promise.all([client.exchange(), client.exchange()]);
    await client.emulator.requests.until(({ pending }) => pending.token === 2);
    expect(fault.hits).toBe(2);
    fault.release();
    expect((await waiting).map(aadsts)).toEqual([0, 0]);
  });
});

describe("which requests a fault meets", () => {
  test("only so many", async () => {
    client.emulator.faults.inject({ endpoint: "token", times: 1, behaviour: { kind: "html" } });
    expect((await client.exchange()).status).toBe(502);
    expect((await client.exchange()).status).toBe(200);
  });

  test("only those of a tenant, a path or a method", async () => {
    const behaviour = { kind: "html" } as const;
    const { secondTenant } = client.emulator;
    client.emulator.faults.inject({ endpoint: "token", match: { tenantId: secondTenant.id }, behaviour });
    expect((await client.exchange()).status).toBe(200);
    expect((await client.exchange({}, { tenant: secondTenant.id.toUpperCase() })).status).toBe(502);
    client.emulator.faults.inject({ endpoint: "keys", match: { path: "discovery/keys" }, behaviour });
    expect((await client.getJson(keysUrl())).status).toBe(200);
  });

  test("none after it was removed; the log tells which answers were touched", async () => {
    const fault = inject({ kind: "html" });
    await client.exchange();
    fault.remove();
    await client.exchange();
    expect(
      client.emulator.requests.token
        .slice(-2)
        .map(({ faulted, status, aadsts: code }) => [faulted, status, code]),
    ).toEqual([
      [true, 502, undefined],
      [false, 200, 0],
    ]);
  });
});

describe("a listener", () => {
  test("refuses connections and comes back on its port", async () => {
    const outage = await client.emulator.faults.refuseConnections("authority");
    await expect(client.getJson(keysUrl())).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
    await outage.end();
    expect((await client.getJson(keysUrl())).status).toBe(200);
  });

  test("shows a certificate that nobody trusts, until it does not", async () => {
    const wrong = client.emulator.faults.wrongCertificate("authority");
    await expect(client.getJson(keysUrl())).rejects.toThrow();
    wrong.end();
    expect((await client.getJson(keysUrl())).status).toBe(200);
  });
});

test("a Graph download that its client leaves is recorded as aborted", async () => {
  const token = await client.graphToken("ada");
  const headers = { authorization: `Bearer ${token}` };
  const [first] = (await client.getJson(`${client.emulator.graphUrl}/me/messages?$top=1`, headers)).body
    .value as { id: string }[];
  const leave = new AbortController();
  const url = `${client.emulator.graphUrl}/me/messages/${first?.id}/attachments/bytes-500000000/$value`;
  const response = await client.fetch(url, { headers, signal: leave.signal });
  expect(response.status).toBe(200);
  leave.abort();
  await client.emulator.requests.until(({ pending }) => pending.graph === 0);
  expect(client.emulator.requests.graph.at(-1)).toMatchObject({ aborted: true, faulted: false });
});
