/** The request's log line, spelt by hand, is what the logger itself would have written. */

import { describe, expect, jest, test } from "@jest/globals";
import { ACTOR_OF, type Actor } from "../../src/errors.ts";
import {
  createLogger,
  createRequestLog,
  type RequestEnd,
  type RequestFacts,
  type RequestLogOptions,
} from "../../src/telemetry/log.ts";

const END: RequestEnd = {
  method: "GET",
  route: "/graph",
  status: 200,
  code: "granted",
  completed: true,
  elapsedMs: 4.125,
};
const ALL = { granted: "all", sampleOneIn: 1 } as const;
const NOTHING: RequestFacts = {
  correlationId: "7a1e",
  via: undefined,
  caller: undefined,
  tokenOrigin: undefined,
  refusal: undefined,
  tokenRequest: undefined,
  mcp: undefined,
  downstreamStatus: undefined,
  downstreamRequestId: undefined,
  trace: undefined,
  cut: undefined,
  verifyMs: undefined,
  exchangeMs: undefined,
  downstreamMs: undefined,
  throttleMs: undefined,
};

function written(level: string, facts: RequestFacts, end: RequestEnd): string[] {
  const lines: string[] = [];
  const sink = { write: (line: string) => void lines.push(line) };
  createRequestLog(createLogger(level, sink), sink, ALL)(facts, end);
  return lines;
}

function byLogger(fields: object): string {
  let written = "";
  createLogger("info", {
    write(line: string) {
      written += line;
    },
  }).info(fields, "request");
  return written;
}

const AWKWARD = 'a "quoted" \\ back\nslash \u0000 \u2028 é 😀 \ud800';

describe("the request's log line", () => {
  test.each([
    ["ordinary text", "plain", {}],
    ["text that JSON must escape", AWKWARD, { error: AWKWARD, numbers: [1, 2] }],
  ])("is the logger's own, field by field: %s", (_, text, diagnostics) => {
    jest.useFakeTimers({ now: Date.UTC(2026, 0, 2, 3, 4, 5, 6), doNotFake: ["performance"] });
    const facts: RequestFacts = {
      ...NOTHING,
      caller: { principal: { tenantId: text, objectId: text, clientId: text } },
      tokenOrigin: "authority",
      trace: { traceId: "0af7651916cd43dd8448eb211c80319c" },
      tokenRequest: { requestId: text, source: "certificate", generation: 2 },
      downstreamRequestId: text,
      downstreamMs: 0.5,
      throttleMs: 1000,
      refusal: { code: text, reason: text, diagnostics },
      downstreamStatus: 503,
      cut: "idle",
      verifyMs: 0.104,
      exchangeMs: 12,
    };
    const [line] = written("info", facts, { ...END, method: text, route: text, code: text });
    expect(line).toBe(
      byLogger({
        correlationId: "7a1e",
        traceId: "0af7651916cd43dd8448eb211c80319c",
        granted: false,
        code: text,
        reason: text,
        method: text,
        route: text,
        status: 200,
        completed: true,
        tid: text,
        oid: text,
        azp: text,
        tokenOrigin: "authority",
        credential: "certificate",
        credentialGeneration: 2,
        entraRequestId: text,
        downstreamStatus: 503,
        downstreamRequestId: text,
        cut: "idle",
        diagnostics,
        ms: 4.13,
        verifyMs: 0.1,
        exchangeMs: 12,
        downstreamMs: 0.5,
        throttleMs: 1000,
      }),
    );
    jest.useRealTimers();
  });

  test("leaves out what there is nothing to say of", () => {
    expect(Object.keys(JSON.parse(written("info", NOTHING, END)[0] ?? ""))).toEqual([
      "level",
      "time",
      "correlationId",
      "granted",
      "code",
      "method",
      "route",
      "status",
      "completed",
      "ms",
      "msg",
    ]);
  });

  test.each([
    [0, 0],
    [0.004, 0],
    [0.005, 0.01],
    [0.09, 0.09],
    [0.1, 0.1],
    [1.999, 2],
    [1234.5, 1234.5],
    [30_000, 30_000],
  ])("rounds %d ms to %d", (elapsedMs, ms) => {
    expect(JSON.parse(written("info", NOTHING, { ...END, elapsedMs })[0] ?? "").ms).toBe(ms);
  });

  test("is silent where the level leaves information out", () => {
    expect(written("warn", NOTHING, END)).toEqual([]);
  });
});

describe("the level of a request's line says who must act", () => {
  const levelsOf = (codes: readonly string[]) => {
    const levels: unknown[] = [];
    const sink = { write: (line: string) => void levels.push(JSON.parse(line).level) };
    const logRequest = createRequestLog(createLogger("info", sink), sink, ALL);
    for (const code of codes) logRequest({ ...NOTHING }, { ...END, code });
    return levels;
  };
  const EXPECTED: Readonly<Record<Actor, string>> = {
    caller: "info",
    user: "info",
    job: "info",
    downstream: "info",
    nobody: "info",
    operator: "warn",
    authority: "warn",
  };

  test.each(Object.entries(ACTOR_OF))("%s, for the %s", (code, actor) => {
    expect(levelsOf([code])).toEqual([code === "internal" ? "error" : EXPECTED[actor]]);
  });

  test.each(["granted", "abandoned"])("%s is information", (code) => {
    expect(levelsOf([code])).toEqual(["info"]);
  });

  test("of one code a warning stands for half a minute; every request keeps its line, and another code is not hidden", () => {
    jest.useFakeTimers();
    try {
      expect(
        levelsOf(["client_rejected", "client_rejected", "authority_timeout", "client_rejected"]),
      ).toEqual(["warn", "info", "warn", "info"]);
      const levels: string[] = [];
      const sink = { write: (line: string) => void levels.push(JSON.parse(line).level) };
      const logRequest = createRequestLog(createLogger("info", sink), sink, ALL);
      for (const afterMs of [0, 29_999, 1, 1]) {
        jest.advanceTimersByTime(afterMs);
        logRequest(NOTHING, { ...END, code: "client_rejected" });
      }
      expect(levels).toEqual(["warn", "info", "warn", "info"]);
    } finally {
      jest.useRealTimers();
    }
  });

  test("a defect is an error each time", () => {
    expect(levelsOf(["internal", "internal"])).toEqual(["error", "error"]);
  });

  test("a warning is written where the log's level leaves information out", () => {
    const codeOf = (line: string) => JSON.parse(line).code;
    const refused = { ...END, code: "client_rejected" };
    expect(written("warn", NOTHING, refused).map(codeOf)).toEqual(["client_rejected"]);
    expect(written("error", NOTHING, refused)).toEqual([]);
    expect(written("error", NOTHING, { ...END, code: "internal" }).map(codeOf)).toEqual(["internal"]);
  });
});

describe("lines of granted requests", () => {
  function codesOf(options: RequestLogOptions, codes: readonly string[]): string[] {
    const seen: string[] = [];
    const sink = { write: (line: string) => void seen.push(JSON.parse(line).code) };
    const logRequest = createRequestLog(createLogger("info", sink), sink, options);
    for (const code of codes) logRequest(NOTHING, { ...END, code });
    return seen;
  }
  const MANY = Array.from({ length: 7 }, () => "granted");

  test("are all written, one in so many, or none", () => {
    expect(codesOf({ granted: "all", sampleOneIn: 3 }, MANY)).toHaveLength(7);
    expect(codesOf({ granted: "sampled", sampleOneIn: 3 }, MANY)).toHaveLength(3);
    expect(codesOf({ granted: "none", sampleOneIn: 3 }, MANY)).toHaveLength(0);
  });

  test.each(["sampled", "none"] as const)("never take the line of a refusal along (%s)", (granted) => {
    const refusals = ["token_missing", "abandoned", "internal"];
    const seen = codesOf({ granted, sampleOneIn: 1_000 }, [...MANY, ...refusals]);
    expect(seen.slice(-3)).toEqual(refusals);
  });
});
