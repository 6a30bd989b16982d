/** The command `obo-gateway` as a process, run to its end. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a configuration of the repository needs from the environment. */
export const IDS = {
  AZURE_TENANT_ID: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01",
  AZURE_CLIENT_ID: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01",
  AZURE_CLIENT_SECRET: "for a test",
};

export const COMMANDS: readonly string[] = [
  "start",
  "check",
  "routes",
  "permissions",
  "openapi",
  "doctor",
  "init",
  "emulator",
  "token",
];

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>> = IDS,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", "src/cli/main.ts", ...args], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH ?? "", ...env },
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}
