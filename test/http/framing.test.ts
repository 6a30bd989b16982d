/** Where a request's body ends, by its fields (RFC 9112 §6). */

import type { IncomingMessage } from "node:http";
import { describe, expect, test } from "@jest/globals";
import { readFraming } from "../../src/http/pipeline.ts";
import { refusal } from "../support/refusal.ts";

const framingOf = (headers: Readonly<Record<string, string>>, httpVersion = "1.1") =>
  readFraming({ headers, httpVersion } as unknown as IncomingMessage);

describe("the framing of a request", () => {
  test.each<[string, Readonly<Record<string, string>>, object]>([
    ["neither field", {}, { kind: "none" }],
    ["a length of nothing", { "content-length": "0" }, { kind: "none" }],
    ["a length", { "content-length": "17" }, { kind: "length", bytes: 17 }],
    ["a length with zeros in front", { "content-length": "0017" }, { kind: "length", bytes: 17 }],
    [
      "the longest length",
      { "content-length": "999999999999999" },
      { kind: "length", bytes: 999_999_999_999_999 },
    ],
    ["chunks", { "transfer-encoding": "chunked" }, { kind: "chunked" }],
    ["chunks in capitals", { "transfer-encoding": "Chunked" }, { kind: "chunked" }],
  ])("follows from %s", (_, headers, expected) => {
    expect(framingOf(headers)).toEqual(expected);
  });

  test("follows from a length in HTTP/1.0 as well", () => {
    expect(framingOf({ "content-length": "3" }, "1.0")).toEqual({ kind: "length", bytes: 3 });
    expect(framingOf({}, "1.0")).toEqual({ kind: "none" });
  });

  test.each<readonly [version: string, what: string, headers: Readonly<Record<string, string>>]>([
    ["1.1", "both fields", { "transfer-encoding": "chunked", "content-length": "3" }],
    [
      "1.1",
      "both fields, with a length of nothing",
      { "transfer-encoding": "chunked", "content-length": "0" },
    ],
    ["1.1", "another coding", { "transfer-encoding": "gzip" }],
    ["1.1", "another coding before chunks", { "transfer-encoding": "gzip, chunked" }],
    ["1.1", "chunks twice", { "transfer-encoding": "chunked, chunked" }],
    ["1.1", "no coding", { "transfer-encoding": "" }],
    ["1.0", "chunks", { "transfer-encoding": "chunked" }],
    ["1.1", "no length", { "content-length": "" }],
    ["1.1", "a length with a sign", { "content-length": "+3" }],
    ["1.1", "a negative length", { "content-length": "-3" }],
    ["1.1", "a length in another notation", { "content-length": "0x3" }],
    ["1.1", "a length with a blank", { "content-length": "3 " }],
    ["1.1", "a length behind a blank", { "content-length": " 3" }],
    ["1.1", "two lengths", { "content-length": "3, 3" }],
    ["1.1", "a length that no number holds", { "content-length": "1000000000000000" }],
    ["0.9", "nothing else", {}],
    ["2.0", "a length", { "content-length": "3" }],
  ])("is refused as ambiguous in HTTP/%s with %s", (version, _, headers) => {
    expect(refusal(() => framingOf(headers, version))).toEqual({
      code: "request_malformed",
      reason: "framing",
    });
  });
});
