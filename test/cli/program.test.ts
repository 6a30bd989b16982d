/** The command `obo-gateway` as a process: exit codes, text, JSON, and files that it writes. */

import { spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "@jest/globals";

const root = fileURLToPath(new URL("../..", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "cli-"));
afterAll(() => rmSync(directory, { recursive: true }));

const IDS = {
  AZURE_TENANT_ID: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01",
  AZURE_CLIENT_ID: "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01",
  AZURE_CLIENT_SECRET: "for a test",
};
const TABLE = "test/emulator/graph/permissions.json";
const LIMIT_MS = 60_000;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], env: Readonly<Record<string, string>> = IDS): Promise<Ended> {
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

describe("help and version", () => {
  const COMMANDS = [
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
  const built = new Set(["emulator"]);

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

  test.each(COMMANDS.filter((name) => !built.has(name)))(
    "%s --help exits 0 and --version prints the version",
    async (name) => {
      const help = await run([name, "--help"]);
      expect([help.code, help.stderr]).toEqual([0, ""]);
      expect(help.stdout).toContain(`obo-gateway ${name}`);
      const version = await run([name, "--version"]);
      expect([version.code, version.stdout.trim()]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+$/)]);
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

test(
  "check lists the faults of the file, the environment, the handlers' module and the credential together",
  async () => {
    const broken = join(directory, "handlers-broken.yaml");
    writeFileSync(
      broken,
      readFileSync("config/gateway.yaml", "utf8").replace("handler: inbox", "handler: inbx"),
    );
    const nowhere = { AZURE_CLIENT_SECRET: "", AZURE_FEDERATED_TOKEN_FILE: "/nowhere/token" };
    const [credential, environment, handler] = await Promise.all([
      run(["check", "--json"], { ...IDS, ...nowhere }),
      run(["check", "--json", "--config", broken], { ...IDS, ...nowhere, PORT: "none" }),
      run(["check", "--json", "--config", broken], { ...IDS, ...nowhere }),
    ]);
    const paths = ({ stdout }: Ended) =>
      (JSON.parse(stdout).faults as { readonly path: string }[]).map(({ path }) => path);
    expect([credential.code, environment.code, handler.code]).toEqual([2, 2, 2]);
    expect(paths(credential)).toEqual(["AZURE_FEDERATED_TOKEN_FILE"]);
    expect(paths(environment)).toEqual(["PORT", "AZURE_FEDERATED_TOKEN_FILE"]);
    expect(paths(handler)).toEqual(["routes[2].handler", "AZURE_FEDERATED_TOKEN_FILE"]);
  },
  LIMIT_MS,
);

test(
  "routes lists each route with methods, scopes and what it opens",
  async () => {
    const [text, json] = await Promise.all([run(["routes"]), run(["routes", "--json"])]);
    expect(text.stdout).toMatch(
      /^\/graph\/\*\*\s+GET\s+API graph\s+users\s+scope access_as_user\s+-\s+128 per user of 1024\s+\/me \/me\/\*\*$/m,
    );
    expect(JSON.parse(json.stdout)).toContainEqual(
      expect.objectContaining({ path: "/api/files/:id", methods: ["GET", "HEAD"], apis: ["graph"] }),
    );
  },
  LIMIT_MS,
);

test(
  "routes shows the limits that hold for a route, whether they are its own or those for all, and its shares",
  async () => {
    const limited = join(directory, "limited.yaml");
    const yaml = readFileSync("config/gateway.yaml", "utf8")
      .replace(
        "    downstreamApi: graph\n",
        "    downstreamApi: graph\n    limits: { perUser: { requests: 5 } }\n",
      )
      .replace("    scopes: [", "    maxConcurrent: 100\n    scopes: [");
    writeFileSync(
      limited,
      `${yaml}\nlimits: { perUser: { requests: 60 }, perClient: { requests: 900, perSeconds: 10 } }\nfairness: { userShare: 0.1, clientShare: 0.5 }\n`,
    );
    const [text, json] = await Promise.all([
      run(["routes", "--config", limited]),
      run(["routes", "--config", limited, "--json"]),
    ]);
    const rows: readonly string[] = text.stdout.split("\n");
    const rowOf = (path: string) => rows.find((row) => row.startsWith(path)) ?? "";
    const shares = "10 per user, 50 per client of 100";
    const columns = (path: string) => rowOf(path).split(/ {2,}/);
    expect(columns("/graph/**").slice(5, 7)).toEqual(["5 in 60 s per user, 900 in 10 s per client", shares]);
    expect(columns("/api/inbox").slice(5, 7)).toEqual([
      "60 in 60 s per user, 900 in 10 s per client",
      shares,
    ]);
    expect(JSON.parse(json.stdout)).toContainEqual(
      expect.objectContaining({
        path: "/graph/**",
        limits: { perUser: { requests: 5, perSeconds: 60 }, perClient: { requests: 900, perSeconds: 10 } },
        shares: {
          graph: {
            underWay: { total: 100, perUser: 10, perClient: 50 },
            maxRequestBytes: 104_857_600,
            timeoutMs: 30_000,
          },
        },
      }),
    );
  },
  LIMIT_MS,
);

describe("permissions", () => {
  test(
    "exits 1 and names what is missing; the commands, Bicep and the consent address hold it",
    async () => {
      const args = ["permissions", "--table", TABLE, "--granted", "User.Read,Calendars.ReadBasic"];
      const [text, az, bicep, consent] = await Promise.all([
        run(args),
        run([...args, "--az"]),
        run([...args, "--bicep"]),
        run([...args, "--consent"]),
      ]);
      expect(text.code).toBe(1);
      expect(text.stdout).toMatch(
        /^GET \/api\/profile\s+handler profile\s+GET \/me\/manager\s+MISSING\s+User\.Read\.All$/m,
      );
      expect(text.stdout).toMatch(/^\/graph\/\*\*\s+API graph\s+GET \/me\/\*\*\s+range of \d+ calls/m);
      expect(text.stdout).toMatch(/^Missing: .*Mail\.ReadBasic/m);
      expect(az.stdout).toContain(`az ad app permission admin-consent --id ${IDS.AZURE_CLIENT_ID}`);
      expect(bicep.stdout).toContain("'Mail.ReadBasic'");
      expect(new URL(consent.stdout.trim()).searchParams.get("scope")).toContain(
        "https://graph.microsoft.com/Mail.ReadBasic",
      );
    },
    LIMIT_MS,
  );

  test(
    "without a table exits 2 and says where one comes from; the compact form serves as well",
    async () => {
      const compact = join(directory, "compact.json");
      const [none, written] = await Promise.all([
        run(["permissions"]),
        run(["permissions", "--table", TABLE, "--write-compact", compact]),
      ]);
      expect(none.code).toBe(2);
      expect(none.stderr).toContain("PERMISSIONS_TABLE: is not set");
      expect(written.code).toBe(0);
      const [one, other] = await Promise.all([
        run(["permissions", "--json", "--granted", "User.Read"], { ...IDS, PERMISSIONS_TABLE: compact }),
        run(["permissions", "--json", "--granted", "User.Read", "--table", TABLE]),
      ]);
      expect(JSON.parse(one.stdout)).toEqual(JSON.parse(other.stdout));
    },
    LIMIT_MS,
  );
});

describe("permissions without a route to Graph", () => {
  test(
    "says that nothing was compared, and why, in the place of an empty table",
    async () => {
      const file = join(directory, "orders.yaml");
      const yaml = [
        'identity: { tenants: ["${AZURE_TENANT_ID}"], audiences: ["${AZURE_CLIENT_ID}"] }',
        "downstreamApis:",
        `  orders: { baseUrl: "https://orders.example/v2", scopes: ["api://${IDS.AZURE_CLIENT_ID}/.default"] }`,
        'routes: [{ path: /orders, downstreamApi: orders, requiredScopes: [orders.use], allow: ["/items"] }]',
      ];
      writeFileSync(file, yaml.join("\n"));
      const args = ["permissions", "--config", file, "--table", TABLE, "--granted", "User.Read"];
      const { code, stdout, stderr } = await run(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(/^No route calls Graph for a user, so nothing was compared\..*kind: graph/);
      expect(stdout).not.toContain("Missing");
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
