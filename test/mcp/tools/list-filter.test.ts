/** Tools taken out of lists while they stream, in whatever pieces the bytes come. */

import { describe, expect, test } from "@jest/globals";
import { createEventFilter } from "../../../src/mcp/tools/event-filter.ts";
import { createListFilter, type StreamFilter } from "../../../src/mcp/tools/list-filter.ts";

const keep = (name: string) => !name.startsWith("closed");
const list = () => createListFilter(keep);
const events = () => createEventFilter(list);

/** A sequence of numbers below 1 that is the same in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

function through(filter: StreamFilter, text: string, sizes: () => number): string {
  const bytes = Buffer.from(text);
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = Math.max(1, sizes());
    // The same memory for every chunk, as a connection may have it: what is held back must be a copy.
    const chunk = Buffer.from(bytes.subarray(at, at + size));
    out.push(Buffer.from(filter.push(chunk)));
    chunk.fill(0x20);
    at += size;
  }
  out.push(filter.flush());
  return Buffer.concat(out).toString();
}

/** Whole, byte by byte, and in pieces of every small size. */
function everyWay(open: () => StreamFilter, text: string): string {
  const whole = through(open(), text, () => Number.MAX_SAFE_INTEGER);
  for (const size of [1, 2, 3, 5, 7, 11]) expect(through(open(), text, () => size)).toBe(whole);
  return whole;
}

const answer = (tools: unknown, more = {}) =>
  JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools, ...more } });
const tool = (name: string, more = {}) => ({ name, inputSchema: { type: "object" }, ...more });

describe("a list in JSON", () => {
  test.each<[string, unknown[], unknown[]]>([
    ["no closed tool", [tool("a"), tool("b")], [tool("a"), tool("b")]],
    ["the first closed", [tool("closed"), tool("b"), tool("c")], [tool("b"), tool("c")]],
    ["the last closed", [tool("a"), tool("closed")], [tool("a")]],
    ["all closed", [tool("closed"), tool("closed2")], []],
    ["none", [], []],
    [
      "what is no tool",
      [1, "x", null, true, [tool("a")], { title: "a" }, { name: 1 }, tool("b")],
      [tool("b")],
    ],
    [
      "tools whose descriptions look like lists",
      [tool("a", { result: { tools: [tool("closed")] } }), tool("closed", { x: ']},"' })],
      [tool("a", { result: { tools: [tool("closed")] } })],
    ],
  ])("with %s", (_, tools, kept) => {
    expect(JSON.parse(everyWay(list, answer(tools, { nextCursor: "closed" })))).toEqual(
      JSON.parse(answer(kept, { nextCursor: "closed" })),
    );
  });

  test.each([
    ["blanks everywhere", ' { "result" : { "tools" : [ {"name":"closed"} , {"name":"a"} ] } } ', ["a"]],
    [
      "escapes in names of members",
      '{"\\u0072esult":{"to\\u006fls":[{"n\\u0061me":"clos\\u0065d"},{"name":"a"}]}}',
      ["a"],
    ],
    ["the list twice", '{"result":{"tools":[{"name":"a"}],"tools":[{"name":"closed"},{"name":"b"}]}}', ["b"]],
    ["the result twice", '{"result":{},"result":{"tools":[{"name":"closed"},{"name":"b"}]}}', ["b"]],
    [
      "texts before it that look like it",
      '{"x":"\\"result\\":{\\"tools\\":[","result":{"a":"tools","tools":[{"name":"closed"}]}}',
      [],
    ],
    ["a mark in front", '\ufeff{"result":{"tools":[{"name":"closed"},{"name":"a"}]}}', ["a"]],
  ])("is found behind %s", (_, text, names) => {
    const { result } = JSON.parse(everyWay(list, text).replace(/^\ufeff/, ""));
    expect(result.tools.map(({ name }: { name: string }) => name)).toEqual(names);
  });

  test("is found in each message of a batch", () => {
    const text = `[${answer([tool("closed"), tool("a")])},${answer([tool("b"), tool("closed")])},{"jsonrpc":"2.0","id":3,"result":{}}]`;
    const filtered = JSON.parse(everyWay(list, text));
    expect(
      filtered.map(({ result }: { result: { tools?: { name: string }[] } }) =>
        result.tools?.map(({ name }) => name),
      ),
    ).toEqual([["a"], ["b"], undefined]);
  });

  test.each([
    ["another member of the message", '{"error":{"tools":[{"name":"closed"}]}}'],
    ["deeper in the result", '{"result":{"content":{"tools":[{"name":"closed"}]}}}'],
    ["in another list of the result", '{"result":{"prompts":[{"name":"closed"}]}}'],
    ["outside the result", '{"tools":[{"name":"closed"}],"result":{}}'],
    ["a text that is no JSON", "<html>result: {tools: [closed]}</html>"],
    ["no list", '{"result":{"tools":{"name":"closed"}}}'],
    ["numbers in their own spelling", '{"result":{"x":1.0e+02,"y":[1 , 2]}}'],
  ])("%s passes byte for byte", (_, text) => {
    expect(everyWay(list, text)).toBe(text);
  });

  test("a description past the bound is left out, and the next tool is not", () => {
    const text = answer([tool("a", { description: "x".repeat(300_000) }), tool("b")]);
    expect(JSON.parse(through(list(), text, () => 65_536)).result.tools).toEqual([tool("b")]);
  });

  test("a list of a thousand invented shapes comes out as a parser would filter it", () => {
    const next = numbers(7);
    const pick = <T>(values: readonly T[]) => values[Math.floor(next() * values.length)] as T;
    const value = (depth: number): unknown =>
      depth > 3 || next() < 0.5
        ? pick([1, -2.5, true, null, "closed", 'a"\\', "[{", "}],", "grüße", ""])
        : next() < 0.5
          ? Array.from({ length: Math.floor(next() * 4) }, () => value(depth + 1))
          : Object.fromEntries(
              Array.from({ length: Math.floor(next() * 4) }, () => [
                pick(["tools", "result", "name", "x", 'q"', ""]),
                value(depth + 1),
              ]),
            );
    for (let count = 0; count < 1_000; count += 1) {
      const tools = Array.from({ length: Math.floor(next() * 5) }, () =>
        next() < 0.7 ? { name: pick(["a", "closed", "b"]), x: value(0) } : value(0),
      );
      const message = {
        jsonrpc: "2.0",
        a: value(0),
        result: { b: value(0), tools, c: value(0) },
        d: value(0),
      };
      const wanted = tools.filter((one) => {
        const name = (one as { name?: unknown } | null)?.name;
        return !Array.isArray(one) && typeof one === "object" && typeof name === "string" && keep(name);
      });
      const text = JSON.stringify(message, null, pick([undefined, 1]));
      const filtered = through(list(), text, () => 1 + Math.floor(next() * 40));
      expect(JSON.parse(filtered)).toEqual({ ...message, result: { ...message.result, tools: wanted } });
    }
  });
});

/** As a browser reads them (WHATWG HTML §9.2.6). */
function read(text: string): { data: string; id: string | undefined; event: string | undefined }[] {
  const read: { data: string; id: string | undefined; event: string | undefined }[] = [];
  let data: string[] = [];
  let id: string | undefined;
  let event: string | undefined;
  for (const line of text
    .replace(/^\ufeff/, "")
    .split(/\r\n|\r|\n/)
    .slice(0, -1)) {
    if (line === "") {
      if (data.length > 0) read.push({ data: data.join("\n"), id, event });
      data = [];
      event = undefined;
      continue;
    }
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === "data") data.push(value);
    if (name === "id") id = value;
    if (name === "event") event = value;
  }
  return read;
}

describe("a stream of events", () => {
  const two = answer([tool("closed"), tool("a")]);
  test.each<[string, string]>([
    ["one line each", `event: message\nid: 1\ndata: ${two}\n\ndata:${two}\nid: 2\n\n`],
    ["carriage returns", `id: 1\rdata: ${two}\r\rdata: ${two}\r\r`],
    ["both", `: hello\r\n\r\nid: 1\r\ndata: ${two}\r\n\r\nretry: 5\r\ndata: ${two}\r\n\r\n`],
    ["a mark in front", `\ufeffdata: ${two}\n\ndata: ${two}\n\n`],
    [
      "data in lines, with other lines between",
      `${two.replace(/,/g, ",\nid: 9\ndata: ").replace(/^/, "data: ")}\n\ndata: ${two}\n\n`,
    ],
    ["empty lines of data", `data\ndata: ${two}\ndata:\n\ndata: ${two}\n\n`],
  ])("is filtered event by event: %s", (_, text) => {
    const before = read(text);
    const after = read(everyWay(events, text));
    expect(after.map(({ id, event }) => ({ id, event }))).toEqual(
      before.map(({ id, event }) => ({ id, event })),
    );
    expect(after).toHaveLength(2);
    for (const { data } of after) expect(JSON.parse(data).result.tools).toEqual([tool("a")]);
  });

  test("passes comments, times and unknown lines as they come, and an event as soon as it is here", () => {
    const filter = events();
    expect(filter.push(Buffer.from(": ping\n\n")).toString()).toBe(": ping\n\n");
    expect(filter.push(Buffer.from("datax: 1\ndat\nretry: 10\n")).toString()).toBe(
      "datax: 1\ndat\nretry: 10\n",
    );
    const whole = 'id: 4\ndata: {"jsonrpc":"2.0","method":"notifications/message"}\n\n';
    expect(filter.push(Buffer.from(whole)).toString()).toBe(whole);
  });

  test("begins anew with each event, so that a broken one hides nothing in the next", () => {
    const text = `data: {"result":{"x":"\n\ndata: ${two}\n\n`;
    expect(JSON.parse(read(everyWay(events, text))[1]?.data ?? "").result.tools).toEqual([tool("a")]);
  });

  test("an event that is cut off stays one that no reader takes", () => {
    expect(read(everyWay(events, 'data: {"result":{"tools":[{"name":"clo'))).toEqual([]);
  });
});
