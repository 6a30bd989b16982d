/** The import rules of docs/architecture.md, asserted over every file of src and of the emulator. */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "@jest/globals";

const root = fileURLToPath(new URL("..", import.meta.url));

interface Import {
  readonly from: string;
  /** A path relative to the repository for our own files, a package name for everything else. */
  readonly to: string;
  readonly typeOnly: boolean;
  /** Whether it is loaded when it is asked for, and not with the file that names it. */
  readonly late?: boolean;
}

const STATEMENT =
  /^(?:import|export)\s(?<clause>[^;]*?)\sfrom\s"(?<specifier>[^"]+)";|^import\s"(?<bare>[^"]+)";/gms;
/** `import("x")`, as an expression or in a type, `require("x")`, `createRequire(…)("x")`, and `require.resolve("x")`. */
const DYNAMIC =
  /\b(?<kind>import|require|require\.resolve|createRequire\([^()]*(?:\([^()]*\))?[^()]*\))\(\s*"(?<name>[^"]+)"\s*,?\s*\)/g;
/** A function that `createRequire` made, under the name that the file gives it. */
const REQUIRER = /\bconst (?<name>\w+)(?:: [\w.]+)? = createRequire\(/g;

function importsOf(file: string, text: string): Import[] {
  const found: Import[] = [];
  for (const { groups } of text.matchAll(STATEMENT)) {
    const clause = groups?.clause ?? "";
    found.push({
      from: file,
      to: target(file, groups?.specifier ?? groups?.bare ?? ""),
      typeOnly: isTypeOnly(clause),
    });
  }
  for (const { groups } of text.matchAll(DYNAMIC))
    found.push({
      from: file,
      to: target(file, groups?.name ?? ""),
      typeOnly: false,
      late: groups?.kind === "import",
    });
  for (const { groups } of text.matchAll(REQUIRER))
    for (const [, specifier] of text.matchAll(new RegExp(`\\b${groups?.name}\\(\\s*"([^"]+)"`, "g")))
      found.push({ from: file, to: target(file, specifier ?? ""), typeOnly: false });
  return found;
}

/** `import type { A }`, `export type { A }`, and `{ type A, type B }` alike. */
function isTypeOnly(clause: string): boolean {
  if (/^type\s/.test(clause)) return true;
  const names = /^\{(.*)\}$/s.exec(clause.trim())?.[1]?.split(",") ?? [];
  return names.length > 0 && names.every((name) => name.trim() === "" || /^type\s/.test(name.trim()));
}

function target(file: string, specifier: string): string {
  if (specifier.startsWith(".")) return relative(root, resolve(root, dirname(file), specifier));
  if (specifier.startsWith("node:")) return specifier;
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

const text = (file: string) => readFileSync(resolve(root, file), "utf8");
function filesBelow(directory: string): string[] {
  return readdirSync(resolve(root, directory), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${directory}/${name}`)
    .sort();
}

const all = filesBelow("src").flatMap((file) => importsOf(file, text(file)));

const isLeaf = (path: string) => path === "src/errors.ts" || path.startsWith("src/foundation/");
const ROOMS = [
  "identity",
  "credential",
  "exchange",
  "delegations",
  "redis",
  "outbound",
  "downstream",
  "http",
  "handlers",
  "telemetry",
  "permissions",
  "console",
  "mcp",
  "local",
] as const;
type Room = (typeof ROOMS)[number];

const roomOf = (path: string): Room | undefined => ROOMS.find((room) => path.startsWith(`src/${room}/`));

/** Which rooms a room may take values from; types alone may besides come from `typesFrom`. */
const RULES: Readonly<
  Record<Room, { readonly valuesFrom: readonly Room[]; readonly typesFrom: readonly Room[] }>
> = {
  identity: { valuesFrom: [], typesFrom: [] },
  credential: { valuesFrom: [], typesFrom: [] },
  exchange: { valuesFrom: ["credential", "redis"], typesFrom: ["identity"] },
  // It asks the exchange for refresh tokens by a port, and keeps them in the Redis that it is handed.
  delegations: { valuesFrom: [], typesFrom: ["identity", "exchange", "redis"] },
  redis: { valuesFrom: [], typesFrom: [] },
  outbound: { valuesFrom: [], typesFrom: [] },
  downstream: { valuesFrom: ["outbound"], typesFrom: ["exchange"] },
  http: {
    valuesFrom: ["identity", "exchange", "downstream", "mcp"],
    typesFrom: ["credential", "delegations", "redis"],
  },
  // It reads messages and knows nothing of requests; its handler is mounted by the composition root.
  mcp: { valuesFrom: [], typesFrom: ["redis", "downstream", "http", "permissions"] },
  handlers: { valuesFrom: ["http", "mcp", "permissions"], typesFrom: ["downstream"] },
  // A second side of the gateway beside http's own, by the same admission, decision and exchange.
  local: { valuesFrom: ["http", "identity"], typesFrom: ["exchange", "downstream"] },
  permissions: { valuesFrom: [], typesFrom: [] },
  // Telemetry turns what rooms tell into lines and numbers: it knows their words, and none of their code.
  telemetry: {
    valuesFrom: [],
    typesFrom: [
      "identity",
      "credential",
      "exchange",
      "delegations",
      "redis",
      "outbound",
      "downstream",
      "http",
    ],
  },
  // It reads the signals that telemetry reads, and shows them.
  console: { valuesFrom: [], typesFrom: ["identity", "credential", "downstream", "http"] },
};

function allowed({ from, to, typeOnly }: Import): boolean {
  const room = roomOf(from);
  if (room === undefined || !to.startsWith("src/") || isLeaf(to)) return true;
  const other = roomOf(to);
  if (other === undefined) return false;
  const { valuesFrom, typesFrom } = RULES[room];
  return other === room || valuesFrom.includes(other) || (typeOnly && typesFrom.includes(other));
}

const TYPES_OF_ZOD = ["src/config/environment.ts", "src/config/faults.ts", "src/config/schema.ts"];

/** Each of these dependencies has one door, so that replacing it is the change of one file. */
const DOORS: Readonly<Record<string, (file: string) => boolean>> = {
  express: (file) => file.startsWith("src/http/"),
  helmet: (file) => file === "src/http/public-side.ts",
  cors: (file) => file === "src/http/cross-origin.ts",
  passport: (file) => file.startsWith("src/identity/"),
  "passport-azure-ad": (file) => file === "src/identity/passport-azure-ad.ts",
  jose: (file) => file === "src/identity/jose.ts",
  "@azure/msal-node": (file) => file === "src/exchange/entra/msal.ts",
  undici: (file) => file === "src/outbound/undici.ts",
  "@modelcontextprotocol/server": (file) => file === "src/mcp/graph/sdk.ts",
  "node-forge": (file) => file === "src/credential/pkcs12.ts",
  "rate-limiter-flexible": (file) => file === "src/http/request-counter.ts",
  ioredis: (file) => file === "src/redis/connection.ts",
  "prom-client": (file) => file === "src/telemetry/metrics.ts",
  // Loaded by `import()`, and only where the environment asks for traces.
  "@opentelemetry/api": (file) => file === "src/telemetry/spans.ts",
  "@opentelemetry/core": (file) => file === "src/telemetry/opentelemetry.ts",
  "@opentelemetry/sdk-trace-base": (file) => file === "src/telemetry/opentelemetry.ts",
  "@opentelemetry/exporter-trace-otlp-http": (file) => file === "src/telemetry/opentelemetry.ts",
  "@opentelemetry/exporter-trace-otlp-proto": (file) => file === "src/telemetry/opentelemetry.ts",
  "@opentelemetry/resources": (file) => file === "src/telemetry/opentelemetry.ts",
  // Its types are part of the contract.
  pino: (file) => file === "src/telemetry/log.ts" || file === "src/telemetry/contract.ts",
  "fastest-levenshtein": (file) => file === "src/foundation/did-you-mean.ts",
  commander: (file) => file === "src/cli/program.ts",
  yaml: (file) => file === "src/config/load.ts",
  // Its types are named beside it.
  zod: (file) => file === "src/config/zod.ts" || TYPES_OF_ZOD.includes(file),
};

/** The files of each room that files outside it import, types included. */
const ROOM_DOORS: Readonly<Record<Room | "config", readonly string[]>> = {
  config: ["load.ts"],
  identity: [
    "authority.ts",
    "claims-policy.ts",
    "compact-jwt.ts",
    "contract.ts",
    "rejection.ts",
    "signing-keys.ts",
    "token-verifier.ts",
  ],
  credential: ["contract.ts", "credential.ts", "federated-token.ts", "key-file.ts"],
  exchange: ["contract.ts", "entra/answers.ts", "entra/application.ts", "exchange.ts"],
  delegations: ["contract.ts", "delegations.ts"],
  redis: ["address.ts", "connection.ts", "contract.ts", "master-keys.ts", "redis.ts", "sealing.ts"],
  outbound: ["agent.ts", "connector.ts", "contract.ts", "outbound.ts", "proxies.ts", "undici.ts"],
  downstream: [
    "client.ts",
    "contract.ts",
    "forward.ts",
    "graph/forward-batch.ts",
    "graph/links.ts",
    "target/downstream-api.ts",
    "transport/pool.ts",
  ],
  http: ["admin.ts", "code-route.ts", "contract.ts", "public-side.ts", "route-table.ts", "server.ts"],
  local: ["local-side.ts"],
  handlers: ["mount.ts"],
  mcp: ["bridge.ts", "contract.ts", "graph/graph-mcp.ts", "tools/contract.ts", "tools/tool-gate.ts"],
  console: ["console.ts", "contract.ts"],
  permissions: ["report.ts", "table.ts", "watch.ts"],
  telemetry: ["contract.ts", "observability.ts"],
};

const broken = (imports: readonly Import[], rule: (one: Import) => boolean) =>
  imports.filter((one) => !rule(one)).map(({ from, to }) => `${from} -> ${to}`);

/** Each circle once, by the first of its files that is met. */
function circles(imports: readonly Pick<Import, "from" | "to">[]): string[] {
  const targets = new Map<string, string[]>();
  for (const { from, to } of imports) targets.set(from, [...(targets.get(from) ?? []), to]);
  const done = new Set<string>();
  const found: string[] = [];
  const walk = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file);
    if (start !== -1) found.push([...path.slice(start), file].join(" > "));
    if (start !== -1 || done.has(file)) return;
    for (const to of targets.get(file) ?? []) walk(to, [...path, file]);
    done.add(file);
  };
  for (const file of targets.keys()) walk(file, []);
  return found;
}

/** A number that stands in where none is given: `?? 500`, `(limit = 5)`. Nothing and one are no settings. */
const NUMBER_FOR_NONE = /(?:\?\?|(?<=[({,]\s*(?:\w+: )?\w+(?:: \w+)? )=) (?![01]\b)\d[\d_]*/g;

/** Where such a number is no setting. */
const NO_SETTINGS: Readonly<Record<string, string>> = {
  "src/local/endpoint.ts = 200": "the status of an answer that is no refusal",
  "src/mcp/bridge/oauth.ts ?? 400": "the status of a refusal, RFC 6749 §5.2",
};

function numbersForNone(file: string, text: string): string[] {
  return [...text.matchAll(NUMBER_FOR_NONE)].map(([found]) => `${file} ${found.trim()}`);
}

describe("architecture", () => {
  test("a room imports itself, the leaves, and what the room to its left hands over", () => {
    expect(broken(all, allowed)).toEqual([]);
  });

  test("a leaf imports no room", () => {
    const leaves = all.filter(({ from }) => isLeaf(from));
    expect(broken(leaves, ({ to }) => !to.startsWith("src/") || isLeaf(to))).toEqual([]);
  });

  test("only the composition roots, configuration and the process edge reach across rooms", () => {
    const crossing = new Set(
      all
        .filter(({ from, to }) => roomOf(from) === undefined && roomOf(to) !== undefined)
        .map(({ from }) => from.replace(/^src\/(cli|doctor)\/.*/, "src/$1/*")),
    );
    expect([...crossing].sort()).toEqual([
      // Two configurations are compared by what the rooms call their parts.
      "src/changes.ts",
      // Faults of the credential stand beside those of the file and the environment.
      "src/checked-config.ts",
      // Subcommands report on what each room makes of the configuration.
      "src/cli/*",
      // Code of the operator becomes routes beside those of the file.
      "src/code-routes.ts",
      // Settings that go together with the address of the Redis, and keys that are read as its file's are.
      "src/config/cross-checks.ts",
      "src/config/environment.ts",
      "src/config/load.ts",
      "src/config/proxies.ts",
      // The room that connects to Redis reads its URL, so that there is one reading of it.
      "src/config/schema.ts",
      // A second composition: it looks at each room with the room's own eyes, one after the other.
      "src/doctor/*",
      "src/gateway.ts",
      "src/index.ts",
      // A description speaks of policies, problems and the authority at once.
      "src/openapi.ts",
      // The rooms that only some configurations use.
      "src/optional-rooms.ts",
      // Code of the operator becomes handlers and routes.
      "src/parts-module.ts",
      // Grants of the exchange and answers of the downstream room meet the table of permissions.
      "src/permission-watch.ts",
      "src/reported-routes.ts",
      // Routes in code belong to the configuration that serves.
      "src/serving.ts",
      "src/start.ts",
    ]);
  });

  test("configuration takes only types from the rooms", () => {
    const values = all.filter(
      ({ from, to, typeOnly }) => from === "src/config/load.ts" && roomOf(to) && !typeOnly,
    );
    expect(values).toEqual([]);
  });

  test.each(Object.entries(DOORS))("%s has one door", (dependency, isDoor) => {
    const uses = all.filter(({ to }) => to === dependency);
    expect(uses.length).toBeGreaterThan(0);
    expect(broken(uses, ({ from }) => isDoor(from))).toEqual([]);
  });

  test("every dependency of package.json has its door", () => {
    const { dependencies } = JSON.parse(text("package.json")) as { readonly dependencies: object };
    // Declarations of types hold no code.
    const packages = Object.keys(dependencies).filter((name) => !name.startsWith("@types/"));
    expect(packages.filter((name) => DOORS[name] === undefined)).toEqual([]);
    expect(Object.keys(DOORS).filter((name) => !(name in dependencies))).toEqual([]);
  });

  test.each(Object.entries(ROOM_DOORS))("files outside enter %s by its doors alone", (room, doors) => {
    const inside = (path: string) => path.startsWith(`src/${room}/`);
    const entered = all.filter(({ from, to }) => inside(to) && !inside(from)).map(({ to }) => to);
    expect([...new Set(entered)].sort()).toEqual(doors.map((door) => `src/${room}/${door}`));
  });

  test("no start loads what only some configurations use", () => {
    const loaded = new Set(["src/run.ts"]);
    for (const file of loaded)
      for (const { from, to, typeOnly, late } of all)
        if (from === file && !typeOnly && late !== true && to.startsWith("src/")) loaded.add(to);
    expect(loaded).toContain("src/downstream/forward.ts");
    const rooms = new Set([...loaded].map(roomOf).filter((room) => room !== undefined));
    expect([...rooms].sort()).toEqual(
      ["credential", "downstream", "exchange", "http", "identity", "outbound", "redis", "telemetry"].sort(),
    );
    const optional = all.filter(({ from, late }) => /\/optional-(?:rooms|parts)\.ts$/.test(from) && late);
    expect(optional.length).toBeGreaterThan(10);
    expect(optional.filter(({ to }) => loaded.has(to))).toEqual([]);
    expect([...loaded].filter((file) => file.startsWith("src/downstream/client/"))).toEqual([]);
  });

  test("the doctor and the command line are edges: the gateway depends on neither", () => {
    const isEdge = (path: string) => /^src\/(?:cli|doctor)\//.test(path);
    expect(broken(all, ({ from, to }) => isEdge(from) || !isEdge(to))).toEqual([]);
  });

  test("the client for web pages knows of the gateway its codes alone, and no part of the gateway loads it", () => {
    const own = (path: string) => path.startsWith("src/browser/");
    const taken = all.filter(({ from, to }) => own(from) && !own(to));
    expect(taken.length).toBeGreaterThan(0);
    expect(broken(taken, ({ to, typeOnly }) => to === "src/errors.ts" && typeOnly)).toEqual([]);
    expect(broken(all, ({ from, to }) => own(from) || !own(to))).toEqual([]);
  });

  test("only the process edges read the environment", () => {
    const readers = filesBelow("src").filter((file) => /\bprocess\.env\b/.test(text(file)));
    expect(readers).toEqual([
      "src/cli/configuration.ts",
      "src/cli/program.ts",
      "src/cli/watch.ts",
      "src/doctor/command.ts",
      "src/run.ts",
    ]);
  });

  test("the emulator is an independent oracle: it imports nothing from src, nor the package made of it", () => {
    const emulator = filesBelow("test/emulator").flatMap((file) => importsOf(file, text(file)));
    expect(emulator.length).toBeGreaterThan(0);
    expect(broken(emulator, ({ to }) => !to.startsWith("src/") && to !== "obo-gateway")).toEqual([]);
  });

  test("a contract holds types and imports types, and no code", () => {
    const contracts = filesBelow("src").filter((file) => file.endsWith("/contract.ts"));
    expect(contracts).toContain("src/downstream/contract.ts");
    const code = contracts.filter((file) =>
      /^(?:export )?(?:async )?(?:const|let|function|class|enum)\b/m.test(text(file)),
    );
    expect(code).toEqual([]);
    expect(broken(all, ({ from, typeOnly }) => !contracts.includes(from) || typeOnly)).toEqual([]);
  });

  test("no files of src import each other in a circle, types included", () => {
    expect(circles(all.filter(({ to }) => to.startsWith("src/")))).toEqual([]);
    expect(
      circles([
        { from: "a", to: "b" },
        { from: "b", to: "c" },
        { from: "c", to: "b" },
      ]),
    ).toEqual(["b > c > b"]);
  });

  test("defaults stand in config alone: no room has a number for a value that it is not given", () => {
    const rooms = filesBelow("src").filter((file) => !file.startsWith("src/config/"));
    const found = rooms.flatMap((file) => numbersForNone(file, text(file)));
    expect(found.sort()).toEqual(Object.keys(NO_SETTINGS));
  });

  test.each([
    ["const bytes = options.maxBytes ?? 65_536;", ["x ?? 65_536"]],
    ["const bytes = options.maxBytes ?? 4 * 2 ** 20;", ["x ?? 4"]],
    ["function f({ failures: limit = 5, now }) {}", ["x = 5"]],
    ["function f(\n  depth: number = 8,\n) {}", ["x = 8"]],
    ["const { connectTimeoutMs: timeoutMs = 5000, ca } = options;", ["x = 5000"]],
    ["const limit = 5;\nlet count = 7, other = count ?? 0;", []],
    ["const [one, two] = pair(units ?? 1);", []],
  ])("the rule for numbers reads %j", (code, expected) => {
    expect(numbersForNone("x", code)).toEqual(expected);
  });

  test("every module of src opens with its purpose", () => {
    const silent = filesBelow("src").filter((file) => !/^(?:#!.*\n)?\/\*\* /.test(text(file)));
    expect(silent).toEqual([]);
  });

  test.each([
    ["a value from the room to the right", 'import { forward } from "../downstream/forward.ts";', false],
    [
      "a value from the room to the left, where only its types may be had",
      'import { x } from "../identity/x.ts";',
      false,
    ],
    [
      "a type from the room to the left",
      'import type { UserAssertion } from "../identity/principal.ts";',
      true,
    ],
    [
      "inline types from the room to the left",
      'import { type A, type B } from "../identity/principal.ts";',
      true,
    ],
    ["a side effect of another room", 'import "../http/app.ts";', false],
    ["a dynamic import of another room", 'const x = await import("../http/app.ts");', false],
    ["another room by require", 'const { x } = require("../http/x.ts");', false],
    ["another room by createRequire", 'const x = createRequire(import.meta.url)("../http/x.ts");', false],
    [
      "another room by a function that createRequire made",
      'const load = createRequire(import.meta.url);\nconst x = () => load("../http/x.ts");',
      false,
    ],
    ["configuration", 'import { loadConfig } from "../config.ts";', false],
    ["a leaf", 'import { GatewayError } from "../errors.ts";', true],
  ])("the rule itself decides on %s", (_, statement, verdict) => {
    expect(importsOf("src/exchange/example.ts", statement).map(allowed)).toEqual([verdict]);
  });
});
