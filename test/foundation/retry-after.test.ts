import { expect, test } from "@jest/globals";
import { parseRetryAfter } from "../../src/foundation/retry-after.ts";

const NOW = Date.UTC(2026, 0, 15, 12);

test.each<[string | null | undefined, number | undefined]>([
  ["0", 0],
  ["120", 120_000],
  ["999999999", 999_999_999_000],
  ["Thu, 15 Jan 2026 12:00:07 GMT", 7_000],
  ["Thu, 15 Jan 2026 11:59:00 GMT", 0],
  [null, undefined],
  [undefined, undefined],
  ["", undefined],
  ["-1", undefined],
  ["1.5", undefined],
  ["1e3", undefined],
  [" 5", undefined],
  ["1234567890", undefined],
  ["soon", undefined],
  ["2026-01-15T12:00:07Z", undefined],
  ["Thu, 99 Jan 2026 12:00:07 GMT", undefined],
])("Retry-After %p asks for %p ms", (value, ms) => {
  expect(parseRetryAfter(value, NOW)).toBe(ms);
});
