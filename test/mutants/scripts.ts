/** Bundles a test file with the room under test in its mutated form, so that each run starts with fresh modules at no cost. */

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build, type Plugin } from "esbuild";
import type { TestScript } from "./protocol.ts";

export interface Bundling {
  readonly root: string;
  /** Sources with switches by absolute path, which take the place of the files. */
  readonly mutated: ReadonlyMap<string, string>;
}

/**
 * What begins a module that the code loads when it needs it, as esbuild writes it into a bundle. All of them begin with the
 * file: begun by the first test that needs it, what it computes then would seem to concern that test alone.
 */
const LATER = /^var (init_[\w$]+) = __esm\(/gm;

/** One statement of an import, as esbuild writes it into a bundle. */
const IMPORT = /^import (?:([\w$*{][^;"]*?) from )?"([^"]+)";$/gm;

export async function bundle(file: string, { root, mutated }: Bundling): Promise<TestScript> {
  const sources: Plugin = {
    name: "sources",
    setup(builder) {
      builder.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        const source = mutated.get(path) ?? (await readFile(path, "utf8"));
        const url = JSON.stringify(pathToFileURL(path).href);
        return { contents: source.replaceAll("import.meta.url", url), loader: "ts" };
      });
    },
  };
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [resolve(root, file)],
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    alias: { "obo-gateway": resolve(root, "src/index.ts") },
    keepNames: true,
    plugins: [sources],
    logLevel: "error",
  });
  const imports = new Set<string>();
  const body = (outputFiles[0]?.text ?? "").replace(IMPORT, (_, names: string | undefined, from: string) => {
    imports.add(from);
    return names === undefined ? "" : taken(names, `$imports[${JSON.stringify(from)}]`);
  });
  const later = [...body.matchAll(LATER)].map(([, begin]) => `await ${begin}();`).join("\n");
  const code = `(async function ($imports, $mutant) {"use strict";\n${body}\n${later}\n})`;
  return { file, code, imports: [...imports] };
}

/** `a, { b as c }` and `* as d` as constants. */
function taken(names: string, from: string): string {
  const [, alone, all, listed] =
    /^(?:([\w$]+)(?:, )?)?(?:\* as ([\w$]+))?(?:\{([^}]*)\})?$/s.exec(names) ?? [];
  const parts: string[] = [];
  if (alone !== undefined) parts.push(`${alone} = ${from}.default`);
  if (all !== undefined) parts.push(`${all} = ${from}`);
  if (listed !== undefined) parts.push(`{${listed.replaceAll(" as ", ": ")}} = ${from}`);
  return `const ${parts.join(", ")};`;
}
