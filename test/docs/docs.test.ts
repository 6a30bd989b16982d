/** README and docs are held to the code: links, commands, names, YAML, programs, and words. */

import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parse, stringify } from "yaml";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { handlersFor, mountHandlers } from "../../src/handlers/mount.ts";
import { type Fence, type Page, parsePage, readPage } from "./page.ts";

const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

const filesBelow = (directory: string): string[] =>
  readdirSync(join(root, directory), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));

const docs = filesBelow("docs").filter((path) => path.endsWith(".md"));
const pages: readonly Page[] = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "CHANGELOG.md",
  "test/emulator/README.md",
  ...docs,
].map((path) => readPage(root, path));
const pageAt = new Map(pages.map((page) => [page.path, page]));

const fencesOf = (...languages: string[]) =>
  pages.flatMap((page) =>
    page.fences
      .filter(({ language }) => languages.includes(language))
      .map((fence) => ({ ...fence, at: `${page.path}:${fence.line}` })),
  );

/** Links of a page that lead nowhere. */
function brokenLinks(page: Page): string[] {
  return page.links.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false;
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? page.path : relative(root, resolve(root, dirname(page.path), path));
    if (file !== page.path && !existsSync(join(root, file))) return true;
    if (anchor === undefined) return false;
    const read = () => (file.endsWith(".md") ? (pageAt.get(file) ?? readPage(root, file)) : undefined);
    const linked = file === page.path ? page : read();
    return linked?.anchors.has(anchor) !== true;
  });
}

describe("links", () => {
  test.each(pages.map((page) => [page.path, page] as const))(
    "every link of %s leads somewhere",
    (_, page) => {
      expect(brokenLinks(page)).toEqual([]);
    },
  );

  test("every page of docs is two clicks from the README at most", () => {
    const linkedFrom = (page: Page | undefined) =>
      (page?.links ?? [])
        .filter((target) => !/^[a-z]+:|^#/.test(target))
        .map((target) =>
          relative(root, resolve(root, dirname(page?.path ?? ""), target.split("#")[0] ?? "")),
        );
    const first = linkedFrom(pageAt.get("README.md"));
    const reached = new Set([...first, ...first.flatMap((path) => linkedFrom(pageAt.get(path)))]);
    expect(docs.filter((path) => !reached.has(path))).toEqual([]);
  });

  test("a link to a missing page, and one to a missing heading, are found", () => {
    const page = parsePage(
      "docs/x.md",
      "# A `b` (c)\n[1](#a-b-c) [2](#d) [3](gone.md) [4](../README.md#gone) `[5](no)`\n",
    );
    expect(brokenLinks(page)).toEqual(["#d", "gone.md", "../README.md#gone"]);
  });
});

describe("names", () => {
  const sourceFiles = ["src", "test", "docker", "config", ".github", ".ci"].flatMap(filesBelow);
  const top = new Set(readdirSync(root));

  /** Whether a name in code is a file or a directory of the repository, or the end of a file's path. */
  function isFile(name: string): boolean {
    const path = name.replace(/^\.\//, "").replace(/\/$/, "");
    if (existsSync(join(root, path))) return true;
    if (path.includes("*")) {
      const pattern = new RegExp(`^${path.split("*").map(escaped).join("[^/]*")}`);
      return sourceFiles.some(
        (file) => pattern.test(file) || file.split("/").some((part) => pattern.test(part)),
      );
    }
    return sourceFiles.some((file) => file.endsWith(`/${path}`) || file.startsWith(`${path}/`));
  }
  const escaped = (text: string) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");

  // What changed is told of files that may be gone by now.
  const current = pages.filter(({ path }) => path !== "CHANGELOG.md");

  test("every file that a page names is there", () => {
    const missing = current.flatMap((page) =>
      page.codes
        .filter(
          (code) =>
            /^(?:src|test|docker|config|\.github|\.ci)\/[\w./*-]+$/.test(code) ||
            /^[\w./-]+\.(?:ts|mjs|sh|bicep)$/.test(code),
        )
        // Names of a reader's files in an example.
        .filter((code) => !/^handlers\//.test(code))
        .filter((code) => !isFile(code))
        .map((code) => `${page.path}: ${code}`),
    );
    expect(missing).toEqual([]);
    expect(isFile("src/gone.ts")).toBe(false);
    expect(isFile("forward/gone.ts")).toBe(false);
  });

  test("every file of the repository that a shell block names is there", () => {
    const missing = fencesOf("sh", "dockerfile").flatMap(({ text, at }) =>
      [...text.matchAll(/(?<![\w/.-])(?:docker|test|src|config)\/[\w./-]+/g)]
        .map(([name]) => name)
        .filter((name) => top.has(name.split("/")[0] ?? "") && !isFile(name.replace(/\/$/, "")))
        .map((name) => `${at}: ${name}`),
    );
    expect(missing.filter((one) => !one.endsWith("docker/aks/overlays/"))).toEqual([]);
  });

  test("every script that a page runs is in package.json", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const named = current.flatMap(({ path, text }) =>
      [...text.matchAll(/npm run (?:--silent )?([a-z][\w:-]*)/g)].map(([, name = ""]) => ({ path, name })),
    );
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter(({ name }) => !Object.hasOwn(scripts, name))).toEqual([]);
    for (const name of ["test", "start"]) expect(scripts).toHaveProperty([name]);
  });

  test("every key of gateway.yaml that a page names is in the reference", () => {
    const reference = readPage(root, "docs/configuration.md")
      .codes.map((code) => code.replace("<name>", "*").replaceAll("[]", ""))
      .filter((code) => code.includes("."));
    const parts =
      "identity|credential|exchange|downstreamApis|routes|http|admin|limits|fairness|log|audit|local";
    const isKey = new RegExp(`^(?:${parts})(?:\\[\\w*\\])?(?:\\.(?:[a-z][A-Za-z]*|<\\w+>))+(?=$|: )`);
    const unknown = current.flatMap(({ path, codes }) =>
      codes
        .map((code) =>
          isKey
            .exec(code)?.[0]
            .replace(/<\w+>/, "*")
            .replace(/\[\w*\]/, ""),
        )
        .filter((key) => key !== undefined)
        .filter((key) => !reference.some((known) => known === key || known.startsWith(`${key}.`)))
        .map((key) => `${path}: ${key}`),
    );
    // A member of what `/readyz` answers.
    expect(unknown.filter((one) => !one.endsWith(": credential.firstTrial"))).toEqual([]);
  });

  test("the metrics of the reference are those of the code", () => {
    const source = filesBelow("src/telemetry").map((path) => readFileSync(join(root, path), "utf8"));
    const inCode = new Set(source.join("\n").match(/(?<=["`])obo_gateway_[a-z_]+(?=["`])/g));
    // Their names are put together: src/telemetry/metrics.ts, `credentialGauges`.
    for (const name of ["serving", "usable", "generation", "expiry_timestamp_seconds"])
      inCode.add(`obo_gateway_credential_${name}`);
    inCode.delete("obo_gateway_credential_");
    const documented = new Set(pageAt.get("docs/telemetry.md")?.text.match(/obo_gateway_[a-z_]+[a-z]/g));
    expect([...documented].sort()).toEqual([...inCode].sort());
  });
});

describe("YAML", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "docs-"));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const MINIMAL = {
    identity: { tenants: ["${AZURE_TENANT_ID}"], audiences: ["${AZURE_CLIENT_ID}"] },
    downstreamApis: {
      graph: {
        baseUrl: "https://graph.microsoft.com/v1.0",
        scopes: ["https://graph.microsoft.com/.default"],
      },
    },
    routes: [{ path: "/graph", downstreamApi: "graph", allow: ["/me"] }],
  };

  function merged(base: unknown, part: unknown): unknown {
    if (part === null || typeof part !== "object" || Array.isArray(part)) return part;
    const whole: Record<string, unknown> =
      base !== null && typeof base === "object" && !Array.isArray(base) ? { ...base } : {};
    for (const [key, value] of Object.entries(part)) whole[key] = merged(whole[key], value);
    return whole;
  }

  /** The faults of a block, as an operator would read them at the start. */
  async function faultsOf({ kind, text }: Pick<Fence, "kind" | "text">): Promise<readonly string[]> {
    const file = join(directory, "gateway.yaml");
    writeFileSync(file, kind === "fragment" ? stringify(merged(MINIMAL, parse(text))) : text);
    const env = {
      GATEWAY_CONFIG: file,
      AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
      AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
      REDIS_URL: "rediss://cache.example.com:6380",
      TOKEN_CACHE_KEYS: `${"A".repeat(43)}=`,
      LOCAL_PORT: "0",
    };
    try {
      const config = loadConfig(env);
      mountHandlers(config.handlerRoutes, await handlersFor(config));
      return [];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return error.faults.map(({ path, problem }) => `${path}: ${problem}`);
    }
  }

  const blocks = fencesOf("yaml", "yml").map((fence) => [fence.at, fence] as const);

  test.each(blocks)("the block at %s says what it is, and loads", async (_, fence) => {
    expect(["gateway", "fragment", "other"]).toContain(fence.kind);
    if (fence.kind === "other") parse(fence.text);
    else expect(await faultsOf(fence)).toEqual([]);
  });

  test("a block with a key, an API or a handler that does not exist is found", async () => {
    const fragment = (text: string) => faultsOf({ kind: "fragment", text });
    expect(await fragment("http: { publicURL: https://x.example }")).toHaveLength(1);
    expect(await fragment('routes: [{ path: /a, downstreamApi: grpah, allow: ["/me"] }]')).toHaveLength(1);
    expect(await fragment("routes: [{ path: /a, handler: profil }]")).toHaveLength(1);
  });

  test.each(fencesOf("json").map((fence) => [fence.at, fence.text]))("the JSON at %s parses", (_, text) => {
    JSON.parse(text);
  });
});

describe("programs", () => {
  /** Compiler's messages about the programs, each with the place of its block. */
  function compile(programs: readonly { readonly at: string; readonly text: string }[]): string[] {
    // Below node_modules, where packages are found as a reader's program finds them.
    const parent = join(root, "node_modules/.cache");
    mkdirSync(parent, { recursive: true });
    const directory = mkdtempSync(join(parent, "docs-"));
    try {
      // Tests in a page are tests of this repository.
      for (const [index, { text }] of programs.entries())
        writeFileSync(
          join(directory, `${index}.ts`),
          text.replaceAll(/from "\.\.\/(emulator|support)\//g, `from "${root}/test/$1/`),
        );
      const options = {
        extends: join(root, "tsconfig.json"),
        compilerOptions: {
          lib: ["ES2023", "DOM", "DOM.Iterable"],
          noUnusedLocals: false,
          rewriteRelativeImportExtensions: false,
          paths: {
            "obo-gateway": [join(root, "src/index.ts")],
            "obo-gateway/browser": [join(root, "src/browser/index.ts")],
            "obo-gateway/testing": [join(root, "test/testing/testing.ts")],
          },
        },
        include: ["*.ts", join(root, "src/**/*.d.ts")],
      };
      writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(options));
      const { stdout, status } = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", directory], {
        encoding: "utf8",
      });
      const messages = stdout.split("\n").filter((line) => line !== "");
      if (status !== 0 && messages.length === 0) throw new Error("the compiler gave no answer");
      return messages.map((line) =>
        line.replace(/^.*?(\d+)\.ts\(/, (_, index) => `${programs[index]?.at} (`),
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  test("every block of TypeScript compiles against what an embedding program may import", () => {
    const programs = fencesOf("ts").filter(({ kind, at }) => kind !== "fragment" && !at.startsWith("test/"));
    expect(programs.length).toBeGreaterThan(3);
    expect(compile(programs)).toEqual([]);
  });

  test("a program with a name that the gateway does not export is found", () => {
    const [message, ...others] = compile([
      { at: "here", text: 'import { gone } from "obo-gateway";\ngone();\n' },
    ]);
    expect(message).toMatch(/^here \(1,10\): error TS2305/);
    expect(others).toEqual([]);
  });

  const shellBlocks = fencesOf("sh").map((fence) => [fence.at, fence.text]);
  test.each(shellBlocks)("the shell reads the block at %s", (_, text) => {
    // Placeholders such as <name> would be redirections.
    const { status, stderr } = spawnSync("bash", ["-n"], {
      input: text.replace(/<[^<>\n]+>/g, "placeholder"),
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  test("the set-up script knows the options that pages give it", () => {
    const help = execFileSync("bash", [join(root, "docker/setup/azure.sh"), "--help"], { encoding: "utf8" });
    const given = fencesOf("sh")
      .flatMap(({ text }) => text.split("\n"))
      .filter((line) => line.startsWith("docker/setup/azure.sh"))
      .flatMap((line) => (line.split("#")[0] ?? "").match(/--[a-z-]+/g) ?? []);
    expect(given.length).toBeGreaterThan(3);
    expect(given.filter((option) => !help.includes(`${option} `))).toEqual([]);
  });
});

describe("words", () => {
  const lines = (text: string) => text.replace(/\n$/, "").split("\n").length;

  test("the README is one page", () => {
    expect(lines(pageAt.get("README.md")?.text ?? "")).toBeLessThanOrEqual(250);
  });

  /** Pronouns without a person, and verbs that hide who acts. */
  const AVOIDED = /\b(?:whoever|nobody|mend|told)\b/i;
  const found = (paths: readonly string[]) =>
    paths.flatMap((path) =>
      readFileSync(join(root, path), "utf8")
        .split("\n")
        .flatMap((line, index) => (AVOIDED.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
    );

  test("pages name who acts", () => {
    expect(found(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ...docs])).toEqual([]);
  });

  test("comments and messages of the code do so but for a few places", () => {
    expect(found(filesBelow("src")).length).toBeLessThan(25);
  });
});

describe("CHANGELOG", () => {
  /** Versions with their sections, and each section's items in one line. */
  const versions = readFileSync(join(root, "CHANGELOG.md"), "utf8")
    .split(/^## /m)
    .slice(1)
    .map((text) => {
      const [before = "", ...sections] = text.split(/^### /m);
      return {
        name: before.split("\n", 1)[0],
        before: itemsOf(before),
        sections: sections.map((one) => ({ title: one.split("\n", 1)[0] ?? "", items: itemsOf(one) })),
      };
    });

  function itemsOf(text: string): string[] {
    return text
      .split(/^- /m)
      .slice(1)
      .map((item) => item.replace(/\s+/g, " ").trim());
  }

  test("begins with Unreleased, whose items all stand in a section that Keep a Changelog knows, each section once", () => {
    const [unreleased] = versions;
    expect(unreleased).toMatchObject({ name: "Unreleased", before: [] });
    const titles = unreleased?.sections.map(({ title }) => title) ?? [];
    const known = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    expect(titles).toEqual(known.filter((title) => titles.includes(title)));
    expect(titles).toContain("Added");
  });

  test("says nothing twice", () => {
    for (const { sections, before } of versions) {
      const items = [...before, ...sections.flatMap((section) => section.items)];
      expect(items.filter((item, index) => items.indexOf(item) !== index)).toEqual([]);
    }
  });
});
