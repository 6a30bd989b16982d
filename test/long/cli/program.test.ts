/** The command `obo-gateway` as a process: exit codes, text, JSON, and files that it writes. */

import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "@jest/globals";
import { COMMANDS, IDS, runCommand as run } from "../../support/command.ts";

const LIMIT_MS = 60_000;
const root = fileURLToPath(new URL("../../..", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "cli-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("help and version", () => {
  test(
    "--help lists every subcommand, --version prints the package's",
    async () => {
      const [help, version] = await Promise.all([run(["--help"]), run(["--version"])]);
      for (const name of COMMANDS) expect(help.stdout).toMatch(new RegExp(`^  ${name}\\b`, "m"));
      expect([help.code, version.code]).toEqual([0, 0]);
      const { version: expected } = JSON.parse(readFileSync("package.json", "utf8"));
      expect(version.stdout.trim()).toBe(expected);
    },
    LIMIT_MS,
  );

  test(
    "an unknown subcommand or option exits 2 and says what is wrong",
    async () => {
      const [command, option] = await Promise.all([run(["strat"]), run(["check", "--jason"])]);
      expect([command.code, option.code]).toEqual([2, 2]);
      expect(command.stderr).toContain("start");
      expect(option.stderr).toContain("--jason");
    },
    LIMIT_MS,
  );
});

describe("check", () => {
  test(
    "exits 0 for a configuration without fault, and 2 with every fault of another",
    async () => {
      const broken = join(directory, "broken.yaml");
      writeFileSync(
        broken,
        readFileSync("config/gateway.yaml", "utf8")
          .replace("downstreamApi: graph", "downstreamApi: grpah")
          .replace("handler: inbox", "handler: inbx"),
      );
      const [good, bad, json] = await Promise.all([
        run(["check"]),
        run(["check", "--config", broken]),
        run(["check", "--config", broken, "--json"]),
      ]);
      expect(good).toMatchObject({ code: 0, stderr: "" });
      expect(bad.code).toBe(2);
      expect(bad.stderr).toContain('routes[0].downstreamApi: no API named "grpah"; did you mean "graph"?');
      expect(JSON.parse(json.stdout)).toMatchObject({
        valid: false,
        faults: [{ path: "routes[0].downstreamApi" }],
      });
    },
    LIMIT_MS,
  );
});

describe("init", () => {
  const ids = ["--tenant", IDS.AZURE_TENANT_ID, "--client", IDS.AZURE_CLIENT_ID];

  test(
    "writes files that check accepts, and never overwrites one",
    async () => {
      const target = join(directory, "fresh");
      const first = await run(["init", "--directory", target, ...ids, "--json"], {});
      expect(first.code).toBe(0);
      expect(JSON.parse(first.stdout).written).toHaveLength(3);
      const checked = await run(["check", "--config", join(target, "gateway.yaml")]);
      expect(checked).toMatchObject({ code: 0, stderr: "" });

      writeFileSync(join(target, "gateway.yaml"), "mine");
      rmSync(join(target, ".env"));
      const second = await run(["init", "--directory", target, ...ids, "--json"], {});
      expect(second.code).toBe(1);
      expect(JSON.parse(second.stdout)).toMatchObject({
        written: [join(target, ".env")],
        kept: [join(target, "gateway.yaml"), join(target, "compose.yaml")],
      });
      expect(readFileSync(join(target, "gateway.yaml"), "utf8")).toBe("mine");
    },
    LIMIT_MS,
  );

  test(
    "says which .env the next commands read where it is not the one that was written, and the line that it gives works",
    async () => {
      const target = join(directory, "beside");
      const { stdout } = await run(["init", "--directory", target, ...ids], {});
      expect(stdout).toContain(`these read ${join(root, ".env")}; for the file in ${target} run there:`);
      const line = /run there: node (--env-file=\S+) (\S+) check$/m.exec(stdout);
      const [, option = "", program = ""] = line ?? [];
      expect(program).toBe(join(root, "src/cli/main.ts"));
      const tsx = import.meta.resolve("tsx");
      const { status, stderr } = spawnSync(process.execPath, [option, "--import", tsx, program, "check"], {
        cwd: target,
        encoding: "utf8",
        env: { PATH: process.env.PATH ?? "", AZURE_CLIENT_SECRET: randomUUID() },
      });
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    },
    LIMIT_MS,
  );

  test(
    "without ids and without a person to ask exits 2 and writes nothing",
    async () => {
      const { code, stderr } = await run(["init", "--directory", join(directory, "none")], {});
      expect(code).toBe(2);
      expect(stderr).toMatch(/--tenant: .*\n--client: /);
    },
    LIMIT_MS,
  );
});
