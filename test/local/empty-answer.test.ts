/** An answer without a body: what a proxy in front reads of it, whichever way Node puts its head together. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { writeEmptyAnswer } from "../../src/local/empty-answer.ts";

const TOKEN = "t".repeat(2_000);
const FIELDS = ["authorization", `Bearer ${TOKEN}`, "x-empty", "", "x-colon", "a: b"];
const LINES = `authorization: Bearer ${TOKEN}\r\nx-empty: \r\nx-colon: a: b\r\n`;

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
const HANDLERS: Readonly<Record<string, Handler>> = {
  "/here": (_request, response) => writeEmptyAnswer(response, LINES),
  "/by-node": (_request, response) => response.writeHead(200, [...FIELDS, "content-length", "0"]).end(),
  "/after-others": (_request, response) => {
    response.setHeader("ratelimit", '"user";r=1;t=1').setHeader("connection", "close");
    writeEmptyAnswer(response, LINES);
  },
  "/last": (_request, response) => {
    response.shouldKeepAlive = false;
    writeEmptyAnswer(response, LINES);
  },
};

let server: Server;
beforeAll(async () => {
  server = createServer((request, response) => HANDLERS[request.url ?? ""]?.(request, response)).listen(
    0,
    "127.0.0.1",
  );
  await once(server, "listening");
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

/** All bytes of one connection on which these requests come one behind the other, and the last one ends it. */
async function bytesOf(...requests: readonly string[]): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (piece: string) => {
    text += piece;
  });
  socket.write(requests.join(""));
  await once(socket, "close");
  return text;
}

const get = (path: string, { version = "1.1", fields = "connection: close\r\n" } = {}) =>
  `GET ${path} HTTP/${version}\r\nhost: localhost\r\n${fields}\r\n`;
/** Lines of a head in any order, without the time. */
const linesOf = (head: string) =>
  head
    .split("\r\n")
    .filter((line) => !/^date: /i.test(line))
    .sort();

test.each<[string, { version?: string; fields?: string }]>([
  ["the last request of a connection", {}],
  ["HTTP/1.0", { version: "1.0", fields: "" }],
  ["HTTP/1.0 that keeps its connection", { version: "1.0", fields: "connection: keep-alive\r\n" }],
])("holds the same lines as an answer of Node's, to %s", async (_, options) => {
  // Where the connection is kept, one more request ends it.
  const end = options.fields?.includes("keep-alive") ? [get("/last")] : [];
  const [here, byNode] = [
    await bytesOf(get("/here", options), ...end),
    await bytesOf(get("/by-node", options), ...end),
  ];
  expect(linesOf(here)).toEqual(linesOf(byNode));
  expect(here).toContain(`authorization: Bearer ${TOKEN}\r\n`);
});

test("is followed by the next answer on a connection that is kept", async () => {
  const text = await bytesOf(get("/here", { fields: "" }), get("/here", { fields: "" }), get("/last"));
  const answers = text.split("\r\n\r\n");
  expect(answers).toHaveLength(4);
  expect(answers.pop()).toBe("");
  for (const head of answers) expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(answers.map((head) => /^connection: (\S+)$/im.exec(head)?.[1])).toEqual([
    "keep-alive",
    "keep-alive",
    "close",
  ]);
});

test("keeps what was set before: a limit's fields, and that the connection ends", async () => {
  const text = await bytesOf(get("/after-others", { fields: "" }));
  const lines = text.split("\r\n").map((line) => line.toLowerCase());
  expect(lines).toEqual(
    expect.arrayContaining(['ratelimit: "user";r=1;t=1', "connection: close", "content-length: 0"]),
  );
  expect(text).toContain(`authorization: Bearer ${TOKEN}\r\nx-empty: \r\nx-colon: a: b\r\n`);
  expect(lines.filter((line) => line.startsWith("connection:"))).toHaveLength(1);
});
