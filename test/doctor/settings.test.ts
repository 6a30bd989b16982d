/** Settings that load and cannot do what they were written for; and what the process may use. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type Changes, createPatient, type Patient } from "./support.ts";

let emulator: Emulator;
let patient: Patient;
beforeAll(async () => {
  emulator = await startEmulator();
  patient = await createPatient(emulator);
});
afterAll(async () => {
  await patient.close();
  await emulator.close();
});

const yaml = (from: string, to: string): Changes => ({ yaml: [[from, to]] });

describe("required-scopes", () => {
  test.each([
    ["api://11111111-2222-4333-8444-555555555555/access_as_user", /write the name alone.*: access_as_user$/],
    ["https://contoso.example/gateway/Files.Read", /: Files\.Read$/],
    [
      "api://11111111-2222-4333-8444-555555555555/.default",
      /names of the scopes that the registration exposes/,
    ],
  ])("%s is in no token's scp", async (scope, fix) => {
    const report = await patient.diagnose(yaml("[access_as_user]", `["${scope}"]`));
    expect(report.works).toBe(false);
    expect(report.of("required-scopes")).toMatchObject({
      outcome: "fault",
      finding: expect.stringContaining(`/graph: ${scope}`),
      fix: expect.stringMatching(fix),
    });
  });

  test.each(["access_as_user", "Files.Read.All", "user-read"])(
    "%s is a name as scp holds it",
    async (scope) => {
      const report = await patient.diagnose(yaml("[access_as_user]", `[${scope}]`));
      expect(report.of("required-scopes").outcome).toBe("ok");
    },
  );
});

describe("allowed-paths", () => {
  test.each([
    ["the mount", "/graph/me", /repeats the route's path/, /write \/me,/],
    ["the mount alone", "/graph", /repeats the route's path/, /write \/,/],
    ["the base path", "/v1.0/me/**", /repeats the path of baseUrl/, /write \/me\/\*\*,/],
  ])("a pattern that holds %s is a warning", async (_, pattern, finding, fix) => {
    const { origin } = new URL(emulator.graphUrl);
    const report = await patient.diagnose({
      yaml: [['allow: ["/me"]', `allow: ["${pattern}"]`]],
      env: { GRAPH_URL: `${origin}/v1.0` },
    });
    expect(report.of("allowed-paths")).toMatchObject({
      outcome: "warning",
      finding: expect.stringMatching(finding),
      fix: expect.stringMatching(fix),
    });
  });

  test.each(["/graphs", "/v1.0x", "/me/graph"])("%s only looks like it", async (pattern) => {
    const { origin } = new URL(emulator.graphUrl);
    const report = await patient.diagnose({
      yaml: [['allow: ["/me"]', `allow: ["${pattern}"]`]],
      env: { GRAPH_URL: `${origin}/v1.0` },
    });
    expect(report.of("allowed-paths").outcome).toBe("ok");
  });
});

describe("scopes", () => {
  const SCOPES = "[https://graph.microsoft.com/.default]";
  test.each([
    [
      "of two resources",
      "[https://graph.microsoft.com/User.Read, api://other/x]",
      /^downstreamApis\.graph\.scopes: are of several resources/,
    ],
    [
      "with .default beside another",
      "[https://graph.microsoft.com/.default, https://graph.microsoft.com/User.Read]",
      /^downstreamApis\.graph\.scopes: name \.default beside other scopes/,
    ],
  ])("%s keep an API from working", async (_, scopes, finding) => {
    const report = await patient.diagnose(yaml(SCOPES, scopes));
    expect(report.works).toBe(false);
    expect(report.of("configuration")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(finding),
    });
  });

  test("several of one resource are fine", async () => {
    const report = await patient.diagnose(
      yaml(SCOPES, "[https://graph.microsoft.com/User.Read, https://graph.microsoft.com/Mail.Read]"),
    );
    expect(report.works).toBe(true);
  });
});

describe("descriptors", () => {
  test("a limit of 64 is a warning that says for how many connections it is enough", async () => {
    const report = await patient.diagnose({ options: { descriptors: { limit: 64, open: 22 } } });
    expect(report.works).toBe(true);
    expect(report.of("descriptors")).toMatchObject({
      outcome: "warning",
      finding: expect.stringMatching(/^64 file descriptors are enough for 12 connections/),
      facts: { limit: 64, connections: 12, configured: 8_192 },
      commands: ["ulimit -n"],
    });
  });

  test("a limit of 1024 is enough for an ordinary front end", async () => {
    const report = await patient.diagnose({ options: { descriptors: { limit: 1_024, open: 30 } } });
    expect(report.of("descriptors")).toMatchObject({ outcome: "ok", facts: { connections: 488 } });
  });

  test("a small limit is enough where the file asks for no more", async () => {
    const report = await patient.diagnose({
      yaml: [["downstreamApis:", "http: { connections: { max: 10 } }\ndownstreamApis:"]],
      options: { descriptors: { limit: 64, open: 22 } },
    });
    expect(report.of("descriptors").outcome).toBe("ok");
  });
});

test("memory: the caches' bounds stand beside the heap", async () => {
  const { facts } = (await patient.diagnose()).of("memory");
  expect(facts?.heapMib).toBeGreaterThan(0);
  expect(facts).toMatchObject({ delegatedTokensMib: 512, verifiedTokensMib: 96 });
});

test("memory: bounds that do not fit are a fault of the configuration that names both", async () => {
  const report = await patient.diagnose(
    yaml("downstreamApis:", "exchange: { cache: { maxBytes: 68719476736 } }\ndownstreamApis:"),
  );
  expect(report.configured).toBe(false);
  expect(report.of("configuration").finding).toMatch(
    /exchange\.cache\.maxBytes: .*65632 MiB.*ends at \d+ MiB/,
  );
});

test("the summary counts each outcome, and the conclusion names the checks that found a fault", async () => {
  const report = await patient.diagnose({
    yaml: [
      ["[access_as_user]", '["api://x/access_as_user"]'],
      ['allow: ["/me"]', 'allow: ["/graph/me"]'],
    ],
  });
  expect(report.summary).toEqual({
    fault: 1,
    warning: 1,
    ok: report.verdicts.filter(({ outcome }) => outcome === "ok").length,
    skipped: report.verdicts.filter(({ outcome }) => outcome === "skipped").length,
  });
  expect(report.conclusion).toMatch(
    /^The gateway would not work: 1 fault, 1 warning, \d+ checks skipped\. Faults: required-scopes\.$/,
  );
  expect((await patient.diagnose()).conclusion).toMatch(/^The gateway would work: 0 faults, 0 warnings, /);
});
