/** The stream of the console on the admin listener: who may watch, how many, and what a slow viewer costs. */

import { get, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { type AdminListener, listenForAdmin } from "../../src/http/admin.ts";
import type { AdminFeed } from "../../src/http/contract.ts";
import { until } from "../support/until.ts";

const open: AdminListener[] = [];
const answers: IncomingMessage[] = [];
afterEach(async () => {
  for (const answer of answers.splice(0)) answer.destroy();
  await Promise.all(open.splice(0).map((listener) => listener.close()));
});

async function start(isEnabled = true) {
  let send = (_kept: readonly string[], _passing: readonly string[]): void => {};
  let viewers = 0;
  const feed: AdminFeed = {
    pages: {
      "/console": { status: 200, contentType: "text/html", body: "page", headers: { "x-own": "yes" } },
    },
    viewers(count) {
      viewers = count;
    },
    onEvents(listener) {
      send = listener;
    },
  };
  const listener = await listenForAdmin({
    host: "127.0.0.1",
    port: 0,
    pages: async () => ({ status: 200, contentType: "text/plain", body: "" }),
    maxBusyMs: 500,
    hosts: [],
    console: isEnabled ? feed : undefined,
  });
  open.push(listener);
  return {
    send: (...events: string[]) => send(events, []),
    sendOnce: (event: string) => send([], [event]),
    viewers: () => viewers,
    watch: (path = "/console/events", headers = {}) =>
      new Promise<IncomingMessage>((resolve, reject) => {
        get({ port: listener.port, host: "127.0.0.1", path, agent: false, headers }, (answer) => {
          answers.push(answer);
          answer.on("error", () => {});
          resolve(answer);
        }).on("error", reject);
      }),
  };
}

function textOf(answer: IncomingMessage): { text: string } {
  const read = { text: "" };
  answer.on("data", (chunk) => {
    read.text += chunk;
  });
  return read;
}

describe("the console on the admin listener", () => {
  test("without it no page and no stream is there", async () => {
    const { watch } = await start(false);
    expect([(await watch("/console")).statusCode, (await watch()).statusCode]).toEqual([404, 404]);
  });

  test("its page has its header fields, and no answer lets another origin read", async () => {
    const { watch } = await start();
    const page = await watch("/console", { origin: "http://localhost:3000" });
    expect([page.statusCode, page.headers["x-own"]]).toEqual([200, "yes"]);
    const stream = await watch("/console/events", { origin: "http://localhost:3000" });
    expect(stream.headers["content-type"]).toBe("text/event-stream");
    expect([page, stream].map(({ headers }) => headers["access-control-allow-origin"])).toEqual([
      undefined,
      undefined,
    ]);
  });

  test("a host that is not meant is refused", async () => {
    const { watch } = await start();
    expect((await watch("/console/events", { host: "rebound.example" })).statusCode).toBe(421);
  });

  test("events reach every viewer, and a newcomer sees those that came before", async () => {
    const { watch, send, sendOnce, viewers } = await start();
    const first = textOf(await watch());
    await until(() => viewers() === 1);
    sendOnce('{"state":0}');
    send('{"a":1}');
    await until(() => first.text.includes('data: {"a":1}\n\n'));
    expect(first.text).toContain('{"state":0}');
    const second = textOf(await watch());
    await until(() => second.text.includes('data: {"a":1}\n\n'));
    expect(second.text).not.toContain("state");
    send('{"b":2}');
    await until(() => [first, second].every(({ text }) => text.includes('data: {"b":2}\n\n')));
  });

  test("of what came before, the newest 200 are remembered, and nothing once the last viewer has left", async () => {
    const { watch, send, viewers } = await start();
    const first = await watch();
    const read = textOf(first);
    await until(() => viewers() === 1);
    send(...Array.from({ length: 300 }, (_, index) => `${index}`));
    await until(() => read.text.includes("data: 299\n"));
    const second = await watch();
    const later = textOf(second);
    await until(() => later.text.includes("data: 299\n"));
    expect(later.text.match(/data: /g)).toHaveLength(200);
    first.destroy();
    second.destroy();
    await until(() => viewers() === 0);
    const third = textOf(await watch());
    await until(() => viewers() === 1);
    send("next");
    await until(() => third.text.includes("next"));
    expect(third.text).not.toContain("299");
  });

  test("the newest 200 are remembered of many batches as of one, each in order and whole", async () => {
    const { watch, send, viewers } = await start();
    const read = textOf(await watch());
    await until(() => viewers() === 1);
    const batches = [90, 1, 150, 7, 40];
    let next = 0;
    for (const size of batches) send(...Array.from({ length: size }, () => `{"n":${next++}}`));
    await until(() => read.text.includes('data: {"n":287}\n\n'));
    const later = textOf(await watch());
    await until(() => later.text.includes('data: {"n":287}\n\n'));
    const numbers = ({ text }: { text: string }) =>
      [...text.matchAll(/^data: \{"n":(\d+)\}\n$/gm)].map(([, number]) => Number(number));
    expect(numbers(read)).toEqual(Array.from({ length: 288 }, (_, index) => index));
    expect(numbers(later)).toEqual(Array.from({ length: 200 }, (_, index) => 88 + index));
  });

  test("the twenty-first viewer is refused, until one leaves", async () => {
    const { watch, viewers } = await start();
    const all = await Promise.all(Array.from({ length: 20 }, () => watch()));
    expect(all.every(({ statusCode }) => statusCode === 200)).toBe(true);
    expect((await watch()).statusCode).toBe(503);
    all[0]?.destroy();
    await until(() => viewers() === 19);
    expect((await watch()).statusCode).toBe(200);
  });

  test("a viewer who does not read is dropped, and the others see everything", async () => {
    const { watch, send, viewers } = await start();
    const slow = await watch();
    slow.pause();
    const quick = textOf(await watch());
    await until(() => viewers() === 2);
    for (let index = 0; viewers() === 2 && index < 2_000; index++) {
      send("x".repeat(65_536));
      await sleep(1);
    }
    await until(() => viewers() === 1);
    send("last");
    await until(() => quick.text.includes("data: last\n"));
  });
});
