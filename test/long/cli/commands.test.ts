/** Every subcommand of `obo-gateway` as a process: help, routes, permissions, and the faults that check finds together. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { COMMANDS, type Ended, IDS, runCommand as run } from "../../support/command.ts";

const LIMIT_MS = 60_000;
const TABLE = "test/emulator/graph/permissions.json";
const directory = mkdtempSync(join(tmpdir(), "cli-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("help and version", () => {
  const built = new Set(["emulator"]);

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
