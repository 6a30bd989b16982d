/** Answers that the gateway changes: pages with links, and batches, beside a proxy that parses and prints them. */

import { isDeepStrictEqual } from "node:util";
import { GATEWAY_FOR_JSON, JSON_PROXY } from "../contenders.ts";
import { compare } from "../rounds.ts";
import type { Server } from "../server-process.ts";
import type { Scenario } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { END_OF_POST, type Rotation, rotate, rotatePosts } from "../wire.ts";

const CONTENDERS = [JSON_PROXY, GATEWAY_FOR_JSON];
const USERS = 100;
const CONNECTIONS = 16;
const ROUNDS = { rounds: 5, roundMs: 500, warmUpMs: 3_000 };
const QUICK_ROUNDS = { rounds: 3, roundMs: 300, warmUpMs: 900 };
const PARTS = 20;

interface Case {
  readonly name: string;
  /** What the API answers, with links below the given address. */
  readonly answer: (base: string) => object;
  /** Of the page's route. Without it the parts of a batch are sent. */
  readonly path?: string;
}

const CASES: readonly Case[] = [
  { name: "page of 25 messages", path: "/graph/me/messages", answer: (base) => page(base, 25) },
  { name: "page of 1,000 messages", path: "/graph/me/messages", answer: (base) => page(base, 1_000) },
  { name: `$batch of ${PARTS} pages of 5 messages`, answer: batchAnswer },
];

export const json: Scenario = {
  name: "json",
  async run(stage) {
    const { api } = stage;
    const tokens = await stage.tokens(USERS);
    const servers = await Promise.all(CONTENDERS.map((contender) => stage.start(contender)));
    const cases = CASES.map(({ name, answer, path }) => {
      const sent = Buffer.from(JSON.stringify(answer(`${api.url}/v1.0`)));
      const expected = answer("https://gateway.example/graph");
      const rotation =
        path === undefined
          ? rotatePosts("/graph/$batch", tokens, batchText())
          : rotate(`${path}?$top=25`, tokens);
      return { name, sent, expected, path, rotation, bodyBytes: Buffer.byteLength(JSON.stringify(expected)) };
    });
    for (const { sent, expected, path } of cases)
      for (const server of servers) {
        api.answerWith(sent);
        await expectAnswer(server, path, tokens[0] ?? "", expected);
      }
    const turns = cases.flatMap(({ name, sent, rotation, bodyBytes }) =>
      servers.map((server, index) => ({
        name: `${name} (${(bodyBytes / 1024).toFixed(0)} KiB), ${CONTENDERS[index]?.name}`,
        server,
        rotation: rotation as Rotation,
        connections: CONNECTIONS,
        bodyBytes,
        prepare: () => api.answerWith(sent),
      })),
    );
    const { rounds, conditions } = await compare(turns, stage.quick ? QUICK_ROUNDS : ROUNDS);
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
    return {
      title: `JSON that is changed: ${USERS} users, ${CONNECTIONS} connections`,
      columns: [
        { name: "req/s", digits: 0 },
        { name: "MiB/s", digits: 0 },
        { name: "CPU µs/req", digits: 0 },
        { name: "ratio", digits: 2 },
        { name: "CPU ratio", digits: 2 },
      ],
      rows: turns.map(({ name, bodyBytes }, index) => {
        const peer = index - (index % CONTENDERS.length);
        return {
          name,
          figures: [
            median(rates[index] ?? []),
            (median(rates[index] ?? []) * bodyBytes) / 2 ** 20,
            median(costs[index] ?? []),
            pairedRatio(rates[index] ?? [], rates[peer] ?? []),
            pairedRatio(costs[peer] ?? [], costs[index] ?? []),
          ],
        };
      }),
      targets: cases.map(({ name }, index) => {
        const [peer, ours] = [index * CONTENDERS.length, index * CONTENDERS.length + 1];
        return {
          what: `${name} against parsing and printing`,
          value: pairedRatio(rates[ours] ?? [], rates[peer] ?? []),
          byProcessor: pairedRatio(costs[peer] ?? [], costs[ours] ?? []),
          digits: 2,
          limit: { atLeast: 3 },
        };
      }),
      notes: [
        conditions,
        "the peer verifies no token, exchanges none and writes no log; the gateway does all of it",
      ],
    };
  },
};

/** @throws when the answer is another one than asked for: the figures would be those of something else. */
async function expectAnswer(
  { name, port }: Server,
  path: string | undefined,
  token: string,
  expected: object,
): Promise<void> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response =
    path === undefined
      ? await fetch(`http://127.0.0.1:${port}/graph/$batch`, { method: "POST", headers, body: batchText() })
      : await fetch(`http://127.0.0.1:${port}${path}`, { headers });
  const text = await response.text();
  if (!isDeepStrictEqual(JSON.parse(text), expected))
    throw new Error(`${name} answered ${response.status} with other JSON: ${text.slice(0, 300)}`);
}

function batchText(): string {
  const requests = Array.from({ length: PARTS }, (_, n) => ({
    id: `${n + 1}`,
    method: "GET",
    url: `/me/mailFolders/${n}/messages?$top=5`,
  }));
  const text = JSON.stringify({ requests });
  if (!text.endsWith(END_OF_POST.toString()))
    throw new Error("the fixed API would wait for the end of this batch");
  return text;
}

function batchAnswer(base: string): object {
  return {
    responses: Array.from({ length: PARTS }, (_, n) => ({
      id: `${n + 1}`,
      status: 200,
      headers: { "Content-Type": "application/json" },
      body: page(base, 5),
    })),
  };
}

/** As Graph writes messages without their bodies, about a kilobyte each. */
function page(base: string, messages: number): object {
  return {
    "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('1')/messages",
    value: Array.from({ length: messages }, (_, n) => ({
      "@odata.etag": `W/"CQAAABYAAAB${n}"`,
      id: "AAMkAGI2TG9".repeat(12) + n,
      createdDateTime: "2026-01-01T00:00:00Z",
      receivedDateTime: "2026-01-01T00:00:02Z",
      hasAttachments: n % 3 === 0,
      subject: `Notes of the meeting, "part ${n}"`,
      bodyPreview: "Lorem ipsum dolor sit amet,\r\nconsetetur sadipscing elitr. ".repeat(4),
      importance: "normal",
      parentFolderId: "AAMkAGI2TG8".repeat(10),
      isRead: n % 2 === 0,
      webLink: `https://outlook.office365.com/owa/?ItemID=${"AAMkAGI2".repeat(10)}`,
      sender: { emailAddress: { name: "Ada Lovelace", address: "ada@contoso.example" } },
      toRecipients: [
        { emailAddress: { name: "Grace Hopper", address: "grace@contoso.example" } },
        { emailAddress: { name: "Alan Turing", address: "alan@contoso.example" } },
      ],
    })),
    "@odata.nextLink": `${base}/me/messages?$top=25&$skip=25`,
  };
}
