/** Alert rules and dashboard speak only of metrics, labels and values that the gateway has. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parse } from "yaml";
import type { CredentialEventType, CredentialSource } from "../../src/credential/contract.ts";
import { ACTOR_OF } from "../../src/errors.ts";
import type { ExchangeEvent, TokenOrigin } from "../../src/exchange/contract.ts";
import type { RateLimitEvent } from "../../src/http/contract.ts";
import type { KeySetEvent } from "../../src/identity/contract.ts";
import type { ConfigurationEvent } from "../../src/telemetry/contract.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";

interface Rule {
  alert: string;
  expr: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}
interface Panel {
  title: string;
  type: string;
  targets?: { expr: string }[];
}

const RULES = "config/prometheus-rules.yaml";
const rules = (parse(readFileSync(RULES, "utf8")) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);
const dashboard = JSON.parse(readFileSync("config/grafana-dashboard.json", "utf8")) as {
  panels: Panel[];
  templating: { list: { name: string; definition?: string }[] };
};
const expressions: [where: string, expression: string][] = [
  ...rules.map(({ alert, expr }): [string, string] => [`alert ${alert}`, expr]),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }): [string, string] => [`panel ${title}`, expr]),
  ),
];

/** Closed sets, as far as rules may compare with them. The compiler keeps the lists true. */
const CODES = [...Object.keys(ACTOR_OF), "granted", "abandoned"];
const EVENTS = [
  ...(["absent", "reloaded", "reload_failed", "unusable", "refused"] satisfies CredentialEventType[]),
  ...(["switched", "expiring", "file_exposed", "secret_in_production"] satisfies CredentialEventType[]),
  ...(["key_set_refreshed", "key_set_failed", "key_unknown"] satisfies KeySetEvent["type"][]),
  ...(["hit", "miss", "joined", "exchanged", "refused"] satisfies ExchangeEvent["type"][]),
  ...(["counted_alone", "window_forgotten"] satisfies RateLimitEvent["type"][]),
  ...(["held_back", "retried", "evicted", "purged"] satisfies ExchangeEvent["type"][]),
];
const ORIGINS = [...(["cache", "flight", "authority"] satisfies TokenOrigin[]), "signature"];
const SOURCES = ["workload-identity", "certificate", "client-secret"] satisfies CredentialSource[];
const READINGS = ["taken_over", "unchanged", "refused"] satisfies ConfigurationEvent["outcome"][];
const VALUES: Readonly<Record<string, readonly string[]>> = {
  code: CODES,
  outcome: [...CODES, ...READINGS],
  event: EVENTS,
  origin: ORIGINS,
  source: SOURCES,
  stream: ["log", "audit"],
};

/** Labels that Prometheus adds, and the histogram's own. */
const ADDED_LABELS = ["job", "instance", "le"];

const labelsOf = new Map<string, Set<string>>();
beforeAll(async () => {
  const metrics = createMetrics();
  metrics.requestStarted();
  metrics.requestEnded({ route: "/graph", method: "GET", status: 200, code: "granted", seconds: 1 });
  metrics.tokenObtained("cache");
  metrics.tokenVerified("cache");
  metrics.exchangeEvent("hit");
  metrics.exchangeEnded("granted", 1);
  metrics.keySetEvent("key_set_refreshed");
  metrics.credentialEvent("certificate", "reloaded");
  metrics.verified("verified", 1);
  metrics.tokenAwaited("cache", 1);
  metrics.throttleWaited("/graph", 1);
  metrics.downstreamEvent("graph", "breaker_opened");
  metrics.transfers.sent("graph");
  metrics.transfers.repeated("graph");
  metrics.transfers.left("graph", 1);
  metrics.transfers.answered("graph", 429, 1);
  metrics.transfers.failed("graph", "downstream_unreachable", 1);
  metrics.rateLimitEvent("counted_alone");
  metrics.linesLost("log", 1);
  metrics.sharedTierFailed("OOM");
  metrics.watchClock(() => 1);
  metrics.watchTokenCache({ entries: () => 0, bytes: () => 0, users: () => 0, sharedAvailable: () => true });
  const usable = { source: "certificate", state: "usable", generation: 1, expiresAt: 1 };
  metrics.watchCredential(() => ({ serving: "certificate", sources: [usable] }));
  metrics.watchConfiguration(() => ({ generation: 1, needRestart: [] }));
  metrics.configurationRead("refused");
  metrics.watchPermissions(() => ({ missing: [], unused: [] }));
  metrics.watchLoad({ load: { isShedding: false }, lagMs: () => 0 });
  for (const line of (await metrics.exposition()).split("\n")) {
    const [, name, labels = ""] = /^([a-z_0-9]+)(?:\{(.*)\})? /.exec(line) ?? [];
    if (name === undefined) continue;
    const known = labelsOf.get(name) ?? new Set(ADDED_LABELS);
    for (const [, label = ""] of labels.matchAll(/([a-z_]+)="/g)) known.add(label);
    labelsOf.set(name, known);
  }
});

/** Metric names, and what each is compared with, in an expression. */
function mentions(expression: string): { name: string; matchers: [label: string, value: string][] }[] {
  const found = expression.matchAll(/\b((?:obo_gateway|nodejs|process)_[a-z0-9_]+)(?:\{([^}]*)\})?/g);
  return [...found].map(([, name = "", matchers = ""]) => ({
    name,
    matchers: [...matchers.matchAll(/([a-z_]+)(?:=~|!~|!=|=)"([^"]*)"/g)].map(
      ([, label = "", value = ""]): [string, string] => [label, value],
    ),
  }));
}

function faultsOf(expression: string): string[] {
  const mentioned = mentions(expression);
  if (mentioned.length === 0) return ["no metric of the gateway"];
  const known = new Set(mentioned.flatMap(({ name }) => [...(labelsOf.get(name) ?? [])]));
  const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
    list.split(/,\s*/),
  );
  return [
    ...mentioned.flatMap(({ name, matchers }) => {
      const labels = labelsOf.get(name);
      if (labels === undefined) return [`no metric ${name}`];
      return matchers.flatMap(([label, value]) => {
        if (!labels.has(label)) return [`${name} has no label ${label}`];
        const allowed = VALUES[label];
        if (allowed === undefined) return [];
        return value.split("|").flatMap((one) => (allowed.includes(one) ? [] : [`${label} is never ${one}`]));
      });
    }),
    ...grouped.filter((label) => !known.has(label)).map((label) => `grouped by ${label}, which nothing has`),
  ];
}

test.each(expressions)("%s can ever show something", (_, expression) => {
  expect(faultsOf(expression)).toEqual([]);
});

test.each([
  [
    "a metric that does not exist",
    "rate(obo_gateway_request_total[5m])",
    "no metric obo_gateway_request_total",
  ],
  [
    "a label that does not exist",
    'obo_gateway_requests_total{path="/"}',
    "obo_gateway_requests_total has no label path",
  ],
  ["a code that does not exist", 'obo_gateway_requests_total{code=~"internal|oops"}', "code is never oops"],
  [
    "a group that does not exist",
    "sum by (user) (obo_gateway_requests_total)",
    "grouped by user, which nothing has",
  ],
  ["no metric at all", "vector(1)", "no metric of the gateway"],
])("an expression with %s is found out", (_, expression, fault) => {
  expect(faultsOf(expression)).toEqual([fault]);
});

test("each alert has a name of its own, a severity, a summary and a first thing to do", () => {
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  for (const { labels, annotations } of rules) {
    expect(["critical", "warning", "info"]).toContain(labels.severity);
    expect(annotations).toEqual({ summary: expect.any(String), description: expect.stringMatching(/.{40}/) });
  }
});

test("every metric of the gateway is on the dashboard", () => {
  const shown = new Set(
    dashboard.panels
      .flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => mentions(expr)))
      .map(({ name }) => name),
  );
  const own = [...labelsOf.keys()]
    .filter((name) => name.startsWith("obo_gateway_"))
    .map((name) => name.replace(/_(?:bucket|sum|count)$/, ""));
  const missing = own.filter(
    (name) => ![name, `${name}_bucket`, `${name}_count`].some((one) => shown.has(one)),
  );
  expect(missing).toEqual([]);
});

const promtool = spawnSync("promtool", ["--version"]).status === 0;
if (!promtool)
  process.stderr.write("promtool is not on PATH: the syntax of alerts and panels is not checked\n");

(promtool ? describe : describe.skip)("promtool", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "rules-"));
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  const check = (command: string, content: object) => {
    const file = join(directory, `${command}.yaml`);
    writeFileSync(file, JSON.stringify(content));
    const args = command === "test" ? ["test", "rules", file] : ["check", "rules", file];
    const { status, stdout, stderr } = spawnSync("promtool", args, { encoding: "utf8" });
    return { status, output: status === 0 ? "" : stdout + stderr };
  };

  test("accepts the alert rules", () => {
    const { status } = spawnSync("promtool", ["check", "rules", RULES]);
    expect(status).toBe(0);
  });

  test("accepts every panel's expression", () => {
    const panels = expressions
      .filter(([where]) => where.startsWith("panel"))
      .map(([, expr], index) => ({
        record: `panel:${index}`,
        expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$route", ".*"),
      }));
    expect(check("panels", { groups: [{ name: "panels", rules: panels }] })).toEqual({
      status: 0,
      output: "",
    });
  });

  test("sees each alert fire for what it is about, and stay silent before", () => {
    const fires = (alertname: string, at: string, labels: Record<string, string> | undefined) => ({
      alertname,
      eval_time: at,
      exp_alerts:
        labels === undefined
          ? []
          : [
              {
                exp_labels: labels,
                exp_annotations: rules.find(({ alert }) => alert === alertname)?.annotations,
              },
            ],
    });
    const content = {
      rule_files: [resolve(RULES)],
      tests: [
        {
          name: "the first event of a counter is seen, though increase() cannot see it",
          interval: "1m",
          input_series: [
            {
              series: 'obo_gateway_shared_cache_failures_total{reason="OOM"}',
              values: "_x5 1x60",
            },
          ],
          alert_rule_test: [
            fires("OboGatewaySharedCacheFull", "3m", undefined),
            fires("OboGatewaySharedCacheFull", "10m", { severity: "warning" }),
          ],
        },
        {
          name: "a certificate in its last thirty days, by its own end; a federated token lives for an hour",
          interval: "1m",
          input_series: [
            {
              series: 'obo_gateway_credential_expiry_timestamp_seconds{source="certificate"}',
              values: `${30 * 86_400 + 20 * 60}x90`,
            },
            {
              series: 'obo_gateway_credential_expiry_timestamp_seconds{source="workload-identity"}',
              values: "100000x90",
            },
          ],
          alert_rule_test: [
            fires("OboGatewayCertificateExpiring", "25m", undefined),
            fires("OboGatewayCertificateExpiring", "40m", { severity: "warning", source: "certificate" }),
          ],
        },
        {
          name: "lost lines, of a counter that is there from the start",
          interval: "1m",
          input_series: [
            { series: 'obo_gateway_log_lines_lost_total{instance="a",stream="log"}', values: "0x10 5x30" },
            { series: 'obo_gateway_log_lines_lost_total{instance="a",stream="audit"}', values: "0x40" },
          ],
          alert_rule_test: [
            fires("OboGatewayLinesLost", "9m", undefined),
            fires("OboGatewayLinesLost", "30m", undefined),
          ],
        },
        {
          name: "Redis that is gone for five minutes",
          interval: "1m",
          input_series: [{ series: 'obo_gateway_shared_cache_available{instance="a"}', values: "1x10 0x30" }],
          alert_rule_test: [fires("OboGatewaySharedCacheLost", "14m", undefined)],
        },
        {
          name: "failed reads of the keys",
          interval: "1m",
          input_series: [
            { series: 'obo_gateway_key_set_events_total{event="key_set_failed"}', values: "0x10 1+1x30" },
          ],
          alert_rule_test: [
            fires("OboGatewaySigningKeysUnreadable", "9m", undefined),
            fires("OboGatewaySigningKeysUnreadable", "30m", { severity: "warning" }),
          ],
        },
        {
          name: "no instance reports",
          interval: "1m",
          input_series: [{ series: "obo_gateway_requests_in_flight", values: "0x10 _x30" }],
          alert_rule_test: [
            fires("OboGatewayAbsent", "10m", undefined),
            fires("OboGatewayAbsent", "30m", { severity: "critical" }),
          ],
        },
      ],
    };
    expect(check("test", content)).toEqual({ status: 0, output: "" });
  });
});
