import { describe, expect, test } from "@jest/globals";
import { lenientSegments, readRequestTarget } from "../../../src/downstream/target/request-target.ts";
import { GatewayError } from "../../../src/errors.ts";

/** Segments as they mean, or the code and reason of the refusal. */
function read(raw: string, encodedSlashes: "refuse" | "pass" = "refuse") {
  try {
    return readRequestTarget(raw, encodedSlashes);
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code} ${error.reason}`;
    throw error;
  }
}

const code = (value: number) => String.fromCharCode(value);
const encoded = (value: number) => encodeURIComponent(code(value));

describe("a request-target", () => {
  test("is taken apart into segments as they mean and as they came, and the query", () => {
    expect(read("/a%20b/c?x=1?y")).toEqual({
      segments: ["a b", "c"],
      rawSegments: ["a%20b", "c"],
      opaque: new Set(),
      query: "?x=1?y",
    });
    expect(read("/")).toEqual({ segments: [""], rawSegments: [""], opaque: new Set(), query: "" });
    expect(read("/a/")).toMatchObject({ segments: ["a", ""], query: "" });
  });

  test.each([
    ["*", "not_origin_form"],
    ["", "not_origin_form"],
    ["a/b", "not_origin_form"],
    ["/a#b", "fragment"],
    ["/a?b#c", "fragment"],
    ["/a%", "percent_encoding"],
    ["/a%zz", "percent_encoding"],
    ["/a%2Fb", "encoded_separator"],
    ["/a%5cb", "encoded_separator"],
    ["/a%2541", "double_encoding"],
    ["/a%25Ff", "double_encoding"],
  ])("%j is malformed: %s", (raw, reason) => {
    expect(read(raw)).toBe(`request_malformed ${reason}`);
  });

  test.each(["/a//b", "//a", "/a//"])("%j is forbidden for its empty segment", (raw) => {
    expect(read(raw)).toBe("target_forbidden empty_segment");
  });

  test.each(["/a/..", "/.", "/..;a/b", "/.%20", "/%20.", "/%E2%80%A6", "/a%EF%BC%8F.", "/.%EF%BC%BCa"])(
    "%j is forbidden for its dots",
    (raw) => {
      expect(read(raw)).toBe("target_forbidden dot_segment");
    },
  );

  test.each(["/.a", "/a.", "/..a", "/a..", "/a;.", "/.a;b", "/%20a", "/%C3%A9", "/a%EF%BC%8Fb"])(
    "%j is let through, for it only looks like dots",
    (raw) => {
      expect(read(raw)).toMatchObject({ rawSegments: [raw.slice(1)] });
    },
  );

  test("has 16 KiB at most", () => {
    expect(read(`/${"a".repeat(16_383)}`)).toMatchObject({ query: "" });
    expect(read(`/${"a".repeat(16_384)}`)).toBe("request_malformed too_long");
  });

  test("has 256 segments at most", () => {
    expect(read("/a".repeat(256))).toMatchObject({ query: "" });
    expect(read("/a".repeat(257))).toBe("request_malformed too_long");
  });

  test("holds in its path the characters of a path and no others", () => {
    const outside = [];
    for (let value = 0; value < 0x100; value++)
      if (read(`/a${code(value)}b`) === "request_malformed illegal_character") outside.push(code(value));
    const controls = Array.from({ length: 0x21 }, (_, value) => code(value));
    const beyond = Array.from({ length: 0x81 }, (_, value) => code(0x7f + value));
    expect(outside.join("")).toBe([...controls, '"', "<", ">", "\\", "^", "`", "{", "}", ...beyond].join(""));
  });

  test("holds in its query whatever ASCII prints, but a fragment", () => {
    for (let value = 0; value < 0x100; value++) {
      const fits = value > 0x20 && value < 0x7f && code(value) !== "#";
      expect([value, typeof read(`/a?${code(value)}b`) === "object"]).toEqual([value, fits]);
    }
  });

  test("holds no encoded control character, of C0, DEL and C1", () => {
    for (let value = 0; value < 0x100; value++) {
      const answer = read(`/a${encoded(value)}b`);
      const control = value < 0x20 || (value >= 0x7f && value <= 0x9f);
      expect([value, answer === "request_malformed encoded_control"]).toEqual([value, control]);
      // At the begin and at the end as well.
      for (const raw of [`/${encoded(value)}b`, `/b${encoded(value)}`])
        if (control) expect([raw, read(raw)]).toEqual([raw, "request_malformed encoded_control"]);
    }
  });
});

describe("a segment that servers could read in two ways, where it may pass", () => {
  test("is marked, and the others are not", () => {
    expect(read("/a/b%2Fc/d%20e/f%2541", "pass")).toEqual({
      segments: ["a", "b/c", "d e", "f%41"],
      rawSegments: ["a", "b%2Fc", "d%20e", "f%2541"],
      opaque: new Set([1, 3]),
      query: "",
    });
  });

  test.each([
    ["/a%2F.", "target_forbidden dot_segment"],
    ["/%252e", "target_forbidden dot_segment"],
    ["/a%252F..%252Fb", "target_forbidden dot_segment"],
    ["/a%5C..", "target_forbidden dot_segment"],
    ["/a%2500", "request_malformed encoded_control"],
    ["/a%25zz%2F", "request_malformed percent_encoding"],
  ])("hides nothing: %s", (raw, refusal) => {
    const answer = read(raw, "pass");
    if (raw.includes("zz")) expect(answer).toMatchObject({ opaque: new Set([0]) });
    else expect(answer).toBe(refusal);
  });

  test("is decoded four times more, and refused where that is not the end of it", () => {
    const nested = (times: number) => `/a%${"25".repeat(times)}41`;
    expect(read(nested(4), "pass")).toMatchObject({ opaque: new Set([0]) });
    expect(read(nested(5), "pass")).toBe("request_malformed double_encoding");
  });
});

describe("the segments of a lenient server", () => {
  test.each([
    [["Admin"], ["admin"]],
    [["admin;x=1;y"], ["admin"]],
    [["admin. ."], ["admin"]],
    [["  admin"], ["admin"]],
    [["..admin"], ["..admin"]],
    [["a/b\\c"], ["a", "b", "c"]],
    [["%61%2541"], ["aa"]],
    [["users('Ada')"], ["users", "ada", ""]],
    [["users(Ada)/x"], ["users", "ada)", "x"]],
    [["\uff41dmin"], ["admin"]],
    [["a b"], ["a b"]],
    [
      ["a", "b"],
      ["a", "b"],
    ],
  ])("of %j are %j", (segments, lenient) => {
    expect(lenientSegments({ segments })).toEqual(lenient);
  });
});
