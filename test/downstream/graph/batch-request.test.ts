import { describe, expect, test } from "@jest/globals";
import { readBatch } from "../../../src/downstream/graph/batch-request.ts";
import { compileTarget } from "../../../src/downstream/target/downstream-api.ts";
import { GatewayError } from "../../../src/errors.ts";
import { apiAt } from "../api-options.ts";

const route = { path: "/graph", methods: ["GET", "POST"], allow: ["/$batch", "/me/**"] };
const judge = compileTarget(apiAt(1), route);

const read = (value: unknown) =>
  readBatch(typeof value === "string" ? value : JSON.stringify(value), judge, route);
const part = (more: object) => ({ id: "1", method: "GET", url: "/me", ...more });

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
  test("within the rules comes back part by part, holding nothing that was not judged", () => {
    const text = `{"requests":[{"id":"1","method":"GET","URL":"/users","url":"/me?$select=id","x":1},
      {"id":"b","method":"POST","url":"me/sendMail","headers":{"Content-Type":"application/json"},
       "body":{"n":1},"dependsOn":["1"]}],"more":1}`;
    expect(read(text)).toEqual([
      { id: "1", method: "GET", url: "/me?$select=id" },
      {
        id: "b",
        method: "POST",
        url: "me/sendMail",
        headers: { "Content-Type": "application/json" },
        body: { n: 1 },
        dependsOn: ["1"],
      },
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
      expect(read({ requests: [part({ headers: { [name]: "x" } })] })[0]?.headers).toEqual({ [name]: "x" });
    },
  );
});
