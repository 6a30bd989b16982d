import { describe, expect, test } from "@jest/globals";
import type { BatchPart } from "../../../src/downstream/graph/batch-parts.ts";
import { readBatch } from "../../../src/downstream/graph/batch-request.ts";
import { compileTarget } from "../../../src/downstream/target/downstream-api.ts";
import { GatewayError } from "../../../src/errors.ts";
import { apiAt } from "../api-options.ts";

const route = { path: "/graph", methods: ["GET", "POST"], allow: ["/$batch", "/me/**"] };
const check = compileTarget(apiAt(1), route);

/** Runs the reading to its end without a pause. */
function read(value: unknown): readonly BatchPart[] {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const reading = readBatch(Buffer.from(text), { check, route });
  for (;;) {
    const { done, value: parts } = reading.next();
    if (done === true) return parts;
  }
}
const part = (more: object) => ({ id: "1", method: "GET", url: "/me", ...more });

const manyFields = Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`x-${index}`, "1"]));

function refusal(value: unknown): string {
  try {
    read(value);
  } catch (error) {
    if (error instanceof GatewayError) return error.code;
    throw error;
  }
  return "passed";
}

describe("a batch", () => {
  test("within the rules comes back part by part, byte for byte", () => {
    const one = `{ "id" : "1", "method":"GET","url":"/me?$select=id" }`;
    const two = `{"dependsOn":["1"],"body":{"n":9007199254740993,"m":1e400,"n":"\\u0041\\/","n":[ ]},
       "id":"b","method":"POST","url":"me/sendMail","headers":{"Content-Type":"application/json"}}`;
    const parts = read(`\r\n{"requests" :[${one} , ${two}]}\t`);
    expect(parts.map(({ id, dependsOn, text }) => [id, dependsOn, text.toString()])).toEqual([
      ["1", [], one],
      ["b", ["1"], two],
    ]);
  });

  test("of twenty passes and of twenty-one does not", () => {
    const parts = (count: number) => Array.from({ length: count }, (_, index) => part({ id: `${index}` }));
    expect(refusal({ requests: parts(20) })).toBe("passed");
    expect(refusal({ requests: parts(21) })).toBe("request_malformed");
  });

  test.each<[string, unknown]>([
    ["is not JSON", "{"],
    ["is no object", "[]"],
    ["is null", "null"],
    ["has no requests", {}],
    ["has an empty list", { requests: [] }],
    ["has a list that is none", { requests: { length: 1 } }],
    ["repeats an id in other letters", { requests: [part({ id: "a" }), part({ id: "A" })] }],
    ["has a part without id", { requests: [part({ id: undefined })] }],
    ["is a list of requests", [part({})]],
    ["has a part with a number for an id", { requests: [part({ id: 1 })] }],
    ["has a part without method", { requests: [part({ method: undefined })] }],
    ["has a part with a method in small letters", { requests: [part({ method: "get" })] }],
    ["has a part without URL", { requests: [part({ url: undefined })] }],
    ["has a part that is null", { requests: [null] }],
    ["has headers that are a list", { requests: [part({ headers: ["a"] })] }],
    ["has a header that is an object", { requests: [part({ headers: { a: {} } })] }],
    ["splits a header", { requests: [part({ headers: { a: "b\r\nauthorization: x" } })] }],
    ["has a header name that is none", { requests: [part({ headers: { "a b": "c" } })] }],
    ["has a header name that CGI reads as another", { requests: [part({ headers: { x_real_ip: "c" } })] }],
    ["depends on something that is no id", { requests: [part({ dependsOn: [1] })] }],
    ["has a URL with a fragment", { requests: [part({ url: "/me#x" })] }],
    ["has a URL with a line break", { requests: [part({ url: "/me\r\nX: y" })] }],
    ["has a URL with an encoded slash", { requests: [part({ url: "/me%2f..%2fusers" })] }],
    ["has a URL that decodes twice", { requests: [part({ url: "/me/%252e%252e/users" })] }],
    ["has a URL that decodes twice, in capitals", { requests: [part({ url: "/me/%252E%252E/users" })] }],
    ["has a URL with half a character", { requests: [part({ url: "/me/\ud800" })] }],
    [
      "has a header twice",
      `{"requests":[{"id":"1","method":"GET","url":"/me","headers":{"a":"1","A":"2"}}]}`,
    ],
    ["has more header fields than anybody needs", { requests: [part({ headers: manyFields })] }],
    ["has something behind it", `${JSON.stringify({ requests: [part({})] })}}`],
    ["has a comma too many", `{"requests":[${JSON.stringify(part({}))},]}`],
    ["has a number that is none", `{"requests":[{"id":"1","method":"POST","url":"/me","body":01}]}`],
    ["has an escape that is none", `{"requests":[{"id":"1","method":"POST","url":"/me","body":"\\x"}]}`],
    ["has a bare line break in a text", `{"requests":[{"id":"1","method":"POST","url":"/me","body":"\n"}]}`],
  ])("that %s is malformed", (_, value) => {
    expect(refusal(value)).toBe("request_malformed");
  });

  test.each([
    ["a path that is not allowed", { url: "/users/1" }],
    ["a path that is not allowed, without its slash", { url: "users/1" }],
    ["a method that is not allowed", { method: "DELETE" }],
    ["CONNECT", { method: "CONNECT" }],
    ["an absolute URL", { url: "https://graph.microsoft.com/v1.0/me" }],
    ["an absolute URL of the route's own words", { url: "me:/me" }],
    ["a URL that names another host", { url: "//evil.example/me" }],
    ["a backslash", { url: "\\\\evil.example\\me" }],
    ["dot segments", { url: "/me/../users" }],
    ["encoded dot segments", { url: "/me/%2e%2e/users" }],
    ["an empty segment", { url: "/me//messages" }],
    ["another batch", { method: "POST", url: "/$batch" }],
    ["another batch below an allowed path", { method: "POST", url: "/me/$batch" }],
    ["another batch, encoded", { method: "POST", url: "/me/%24batch" }],
    ["another batch in capitals", { method: "POST", url: "/me/$BATCH;v=1" }],
    ["Authorization", { headers: { Authorization: "Bearer x" } }],
    ["Cookie", { headers: { COOKIE: "a=b" } }],
    ["a hop-by-hop field", { headers: { Connection: "close" } }],
    ["a field that changes the method", { headers: { "X-HTTP-Method-Override": "DELETE" } }],
    ["a field that says who calls", { headers: { "X-MS-Client-Principal": "x" } }],
    ["a field that says from where", { headers: { "X-Forwarded-For": "10.0.0.1" } }],
    ["Host", { headers: { Host: "evil.example" } }],
  ])("with %s in a part is forbidden", (_, more) => {
    expect(refusal({ requests: [part({ id: "0" }), part(more)] })).toMatch(
      /^(target_forbidden|request_malformed)$/,
    );
    expect(refusal({ requests: [part({ id: "0" }), part(more)] })).not.toBe("passed");
  });

  test.each([["ConsistencyLevel"], ["Prefer"], ["If-Match"], ["client-request-id"], ["Content-Type"]])(
    "may say %s in a part",
    (name) => {
      expect(refusal({ requests: [part({ headers: { [name]: "x" } })] })).toBe("passed");
    },
  );

  test.each([
    ["DependsOn", '{"id":"1","method":"GET","url":"/me","DependsOn":["2"]}', /"DependsOn".*"dependsOn"/],
    ["Body", '{"id":"1","method":"POST","url":"/me","Body":{}}', /"Body".*"body"/],
    [
      "Headers",
      '{"id":"1","method":"GET","url":"/me","Headers":{"Authorization":"x"}}',
      /"Headers".*"headers"/,
    ],
    ["URL beside url", '{"id":"1","method":"GET","URL":"/users","url":"/me"}', /"URL".*"url"/],
    ["atomicityGroup", '{"id":"1","atomicityGroup":"g","method":"GET","url":"/me"}', /"atomicityGroup"/],
    ["a member of its own", '{"id":"1","method":"GET","url":"/me","x":1}', /"x"/],
    ["url twice", '{"id":"1","method":"GET","url":"/users","url":"/me"}', /"url" twice/],
    ["url twice, once escaped", '{"id":"1","method":"GET","url":"/me","\\u0075rl":"/users"}', /"url" twice/],
    ["body twice", '{"id":"1","method":"POST","url":"/me","body":1,"body":2}', /"body" twice/],
  ])("whose part holds %s is refused by name", (_, text, detail) => {
    expect(() => read(`{"requests":[${text}]}`)).toThrow(detail);
  });

  test.each([
    ["Requests", '{"Requests":[]}', /"Requests".*"requests"/],
    [
      "requests twice",
      `{"requests":[{"id":"1","method":"GET","url":"/me"}],"requests":[]}`,
      /"requests" twice/,
    ],
    ["a member of its own", `{"requests":[{"id":"1","method":"GET","url":"/me"}],"more":1}`, /"more"/],
  ])("that holds %s is refused by name", (_, text, detail) => {
    expect(() => read(text)).toThrow(detail);
  });

  test.each([
    ["a blank in the query", "/me/messages?$filter=subject eq 'a b'"],
    ["letters beyond ASCII", "/me/messages?$filter=from/emailAddress/name eq 'J\u00f6rg \ud83d\ude00'"],
    ["a blank in a file's name", "/me/drive/root:/My File.pdf:/content"],
    ["letters beyond ASCII in a file's name", "/me/drive/root:/\u6587\u4ef6.txt"],
  ])("takes %s in a URL as Graph does", (_, url) => {
    expect(read({ requests: [part({ url })] })[0]?.text.toString()).toContain(url);
  });

  test.each([
    ["a blank before an absolute URL", " https://evil.example/me"],
    ["a blank between dots", "/me/. ./users"],
    ["dots of full width", "/me/\uff0e\uff0e/users"],
    ["a tab", "/me\t/x"],
  ])("does not take %s in a URL", (_, url) => {
    expect(refusal({ requests: [part({ url })] })).toMatch(/^(target_forbidden|request_malformed)$/);
  });

  test.each([
    ["arrays", "[", 100_000],
    ["objects", '{"a":', 100_000],
    ["arrays, one more than is read", "[", 129],
  ])("with nested %s is refused for that reason", (_, opening, count) => {
    const text = `{"requests":[{"id":"1","method":"POST","url":"/me","body":${opening.repeat(count)}1`;
    expect(() => read(text)).toThrow(/nests values deeper than 128/);
  });

  test("may nest as deep as is read", () => {
    const body = `${"[".repeat(128)}${"]".repeat(128)}`;
    expect(refusal(`{"requests":[{"id":"1","method":"POST","url":"/me","body":${body}}]}`)).toBe("passed");
  });

  test("of a million small values is read without a tree of them", () => {
    const text = Buffer.from(
      `{"requests":[{"id":"1","body":[${"{},".repeat(1_350_000)}{}],"method":"POST","url":"/me"}]}`,
    );
    let heapUsed = Number.POSITIVE_INFINITY;
    const before = process.memoryUsage().heapUsed;
    const reading = readBatch(text, {
      route,
      check(method, target) {
        heapUsed = process.memoryUsage().heapUsed;
        return check(method, target);
      },
    });
    let pauses = 0;
    while (reading.next().done !== true) pauses++;
    // As objects they take 80 MB and more.
    expect(heapUsed - before).toBeLessThan(20 * 2 ** 20);
    // So that others get their turn: a pause for each quarter of a megabyte.
    expect(pauses).toBeGreaterThanOrEqual(14);
  });
});
