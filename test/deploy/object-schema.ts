/** Every rendered object against its kind's schema, unknown fields refused: an API server would drop them silently. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import type { Manifest } from "./kinds.ts";

export interface Located {
  /** Where it was rendered from, for the message. */
  readonly from: string;
  readonly object: Manifest;
}

const MODULES = resolve(import.meta.dirname, "../../node_modules");
const PACKAGES = [
  "kubernetes-models",
  "@kubernetes-models/gateway-api",
  "@kubernetes-models/prometheus-operator",
];

const labels = z.record(z.string(), z.string());
const metadata = z.strictObject({ name: z.string(), namespace: z.string(), labels: labels.optional() });

/** Kinds that no package knows, as far as this tree uses them. */
const OWN: Readonly<Record<string, z.ZodType>> = {
  // https://secrets-store-csi-driver.sigs.k8s.io/ and its Azure provider
  "secrets-store.csi.x-k8s.io/v1/SecretProviderClass": z.strictObject({
    apiVersion: z.string(),
    kind: z.string(),
    metadata,
    spec: z.strictObject({
      provider: z.literal("azure"),
      parameters: z.strictObject({
        keyvaultName: z.string(),
        tenantId: z.guid(),
        clientID: z.guid(),
        objects: z.string(),
        cloudName: z.string().optional(),
      }),
      secretObjects: z.array(z.unknown()).optional(),
    }),
  }),
};

/**
 * Wrong types, missing fields and enums by the packages' JSON schemas; misspelt and unknown fields by their TypeScript
 * types, which know every field. Neither alone finds both.
 */
export async function schemaFaults(objects: readonly Located[]): Promise<string[]> {
  const faults: string[] = [];
  const typed: (Located & { readonly path: string })[] = [];
  for (const located of objects) {
    const { apiVersion, kind } = located.object;
    const name = `${apiVersion}/${kind}`;
    const own = OWN[name];
    const path = PACKAGES.map((one) => `${one}/${name}`).find((one) =>
      existsSync(join(MODULES, `${one}.d.ts`)),
    );
    if (own !== undefined) faults.push(...ownFaults(own, located));
    else if (path === undefined) faults.push(`${nameOf(located)}: no schema for ${name}`);
    else {
      typed.push({ ...located, path });
      faults.push(...(await jsonSchemaFaults(path, located)));
    }
  }
  return [...faults, ...typeFaults(typed)];
}

const nameOf = ({ from, object: { kind, metadata } }: Located) => `${from}: ${kind} ${metadata?.name}`;

function ownFaults(schema: z.ZodType, located: Located): string[] {
  const { error } = schema.safeParse(located.object);
  return (error?.issues ?? []).map(
    ({ path, message }) => `${nameOf(located)}: ${path.join(".")}: ${message}`,
  );
}

type Model = new (data: unknown) => { validate(): void };

async function jsonSchemaFaults(path: string, located: Located): Promise<string[]> {
  const module = (await import(pathToFileURL(join(MODULES, `${path}.mjs`)).href)) as Record<string, Model>;
  const Kind = module[located.object.kind];
  if (Kind === undefined) return [`${nameOf(located)}: ${path} holds no such kind`];
  try {
    new Kind(located.object).validate();
    return [];
  } catch (error) {
    return [`${nameOf(located)}: ${error instanceof Error ? error.message : error}`];
  }
}

/** One file for each object, `{…} satisfies IKind`, and one run of the compiler over all of them. */
function typeFaults(objects: readonly (Located & { readonly path: string })[]): string[] {
  if (objects.length === 0) return [];
  const directory = mkdtempSync(join(tmpdir(), "manifest-types-"));
  try {
    symlinkSync(MODULES, join(directory, "node_modules"));
    const compilerOptions = { module: "nodenext", strict: true, noEmit: true, skipLibCheck: true, types: [] };
    writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
    const texts = objects.map(({ object }) => JSON.stringify(object, undefined, 1).split("\n"));
    for (const [index, { object, path }] of objects.entries())
      writeFileSync(
        join(directory, `${index}.ts`),
        `import type { I${object.kind} } from "${path}"; export default ${texts[index]?.join("\n")} satisfies I${object.kind};\n`,
      );
    const compiler = join(MODULES, "typescript/bin/tsc");
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [compiler, "-p", directory, "--pretty", "false"],
      { encoding: "utf8", cwd: directory },
    );
    const found = [...stdout.matchAll(/^(\d+)\.ts\((\d+),\d+\): error TS\d+: (.*)$/gm)];
    // A compiler that fails without naming one of the files has checked nothing.
    if (status !== 0 && found.length === 0) throw new Error(`tsc: ${stdout}${stderr}`);
    return found.flatMap(([, index, line, message = ""]) => {
      const located = objects[Number(index)];
      const path = pathTo(texts[Number(index)] ?? [], Number(line) - 1);
      return located === undefined ? [] : [`${nameOf(located)}: ${path}: ${shortened(message)}`];
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Keys that lead to a line of text that JSON.stringify indented by one blank a level. */
function pathTo(lines: readonly string[], target: number): string {
  const keys: string[] = [];
  let depth = Number.POSITIVE_INFINITY;
  for (let index = target; index >= 0; index--) {
    const [, indent = "", key] = /^( *)(?:"([^"]+)":)?/.exec(lines[index] ?? "") ?? [];
    if (indent.length >= depth) continue;
    depth = indent.length;
    if (key !== undefined) keys.unshift(key);
  }
  return keys.join(".");
}

/** The compiler prints the whole type of what it expected. */
function shortened(message: string): string {
  const [, unknown, hint = ""] =
    /^Object literal may only specify known properties, (?:and|but) '"?(.+?)"?' does not exist in type .*?(Did you mean .*)?$/.exec(
      message,
    ) ?? [];
  return unknown === undefined ? message.slice(0, 200) : `unknown field ${unknown}${hint && `. ${hint}`}`;
}
