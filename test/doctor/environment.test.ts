/** What is odd about the environment is a warning; faults of file, environment and credential stand in one list. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { createPatient, type Patient } from "./support.ts";

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

const others = { skip: ["ports", "token-request", "downstream"] } as const;

describe("a warning of the configuration names the variable", () => {
  test.each([
    ["that is misspelt", "AZURE_CLIENT_SECRT", "s3cret", /AZURE_CLIENT_SECRT is not read; did you mean/],
    ["whose secret ends in a line break", "AZURE_CLIENT_SECRET", "s3cret\n", /SECRET ends in a line break/],
    ["whose secret has quotes around it", "AZURE_CLIENT_SECRET", '"s3cret"', /SECRET has quotes around it/],
  ])("%s", async (_, name, value, finding) => {
    const report = await patient.diagnose({ env: { [name]: value }, options: others });
    expect(report.works).toBe(true);
    const [valid, notice] = report.verdicts.filter(({ check }) => check === "configuration");
    expect(valid?.outcome).toBe("ok");
    expect(notice).toMatchObject({
      outcome: "warning",
      finding: expect.stringMatching(finding),
      fix: `correct ${name} in the environment or in .env`,
    });
  });
});

test("faults of the file, the environment and the credential are in one list", async () => {
  const report = await patient.diagnose({
    yaml: [["audiences:", "audience:"]],
    env: { PORT: "many", AZURE_FEDERATED_TOKEN_FILE: "/nowhere/token" },
  });
  expect(report.configured).toBe(false);
  expect(report.text).toMatch(/identity\.audience: /);
  expect(report.text).toMatch(/PORT: must be a port/);
  expect(report.text).toMatch(/AZURE_FEDERATED_TOKEN_FILE: \/nowhere\/token does not exist/);
});

test("faults of the assembly are reported although the credential cannot be opened", async () => {
  const report = await patient.diagnose({
    yaml: [['allow: ["/me"]', 'allow: ["/me"]\n  - { path: /x, handler: profil }']],
    env: { AZURE_FEDERATED_TOKEN_FILE: "/nowhere/token" },
    options: others,
  });
  const { outcome, finding } = report.of("assembly");
  expect({ outcome, finding }).toEqual({
    outcome: "fault",
    finding: expect.stringMatching(/no handler named "profil"/),
  });
  expect(finding).not.toContain("/nowhere/token");
  expect(report.of("federated-token").outcome).toBe("fault");
});
