/** What a program that imports the package can reach of its declarations: whole files of others go, and single names. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse } from "@babel/parser";

type Tree = ReturnType<typeof parse>["program"]["body"][number];
type Node = { readonly type: string } & Readonly<Record<string, unknown>>;

/** Where a name comes from: another file of the package, under the name that it has there; `*` is all of it. */
interface Origin {
  readonly file: string;
  readonly name: string;
}

interface Statement {
  readonly tree: Tree;
  readonly text: string;
  readonly refersTo: ReadonlySet<string>;
}

interface Declarations {
  readonly text: string;
  readonly body: readonly Tree[];
  /** Statements by the name that each declares; overloads of one name are several. */
  readonly declared: ReadonlyMap<string, readonly Statement[]>;
  readonly imported: ReadonlyMap<string, Origin | undefined>;
  readonly exported: ReadonlyMap<string, string | Origin>;
}

/** The text of each declaration file that `entries` reach, without what they do not. */
export function reachedDeclarations(entries: readonly string[]): ReadonlyMap<string, string> {
  const files = new Map<string, Declarations>();
  const kept = new Map<string, Set<string>>();
  const read = (file: string): Declarations => {
    const known = files.get(file) ?? readDeclarations(file);
    files.set(file, known);
    return known;
  };
  const reach = ({ file, name }: Origin): void => {
    const { exported } = read(file);
    const names = name === "*" ? [...exported.keys()] : [name];
    for (const one of names) {
      const origin = exported.get(one);
      if (origin === undefined) throw new Error(`${file} exports no ${one}`);
      keep(file, `export ${one}`);
      if (typeof origin === "string") follow(file, origin);
      else reach(origin);
    }
  };
  const keep = (file: string, name: string): boolean => {
    const names = kept.get(file) ?? new Set();
    kept.set(file, names);
    if (names.has(name)) return false;
    names.add(name);
    return true;
  };
  const follow = (file: string, name: string): void => {
    const [specifier = "", imports] = name.split(" ");
    if (imports !== undefined) {
      if (specifier.startsWith(".")) reach({ file: fileOf(file, specifier), name: imports });
      return;
    }
    const { declared, imported } = read(file);
    const statements = declared.get(name) ?? [];
    if ((statements.length === 0 && !imported.has(name)) || !keep(file, name)) return;
    const origin = imported.get(name);
    if (origin !== undefined) reach(origin);
    for (const { refersTo } of statements) for (const one of refersTo) follow(file, one);
  };
  for (const file of entries) reach({ file, name: "*" });
  return new Map([...kept].map(([file, names]): [string, string] => [file, written(read(file), names)]));
}

const fileOf = (from: string, specifier: string) =>
  join(dirname(from), specifier).replace(/\.(?:js|ts)$/, ".d.ts");

function readDeclarations(file: string): Declarations {
  const text = readFileSync(file, "utf8");
  const { body } = parse(text, { sourceType: "module", plugins: [["typescript", { dts: true }]] }).program;
  const declared = new Map<string, Statement[]>();
  const imported = new Map<string, Origin | undefined>();
  const exported = new Map<string, string | Origin>();
  for (const tree of body) {
    if (tree.type === "ImportDeclaration") {
      const { value } = tree.source;
      for (const one of tree.specifiers) {
        const name = one.type === "ImportSpecifier" ? nameOf(one.imported) : undefined;
        if (value.startsWith(".") && name === undefined)
          throw new Error(`${file} takes no single names of ${value}`);
        imported.set(
          one.local.name,
          name !== undefined && value.startsWith(".") ? { file: fileOf(file, value), name } : undefined,
        );
      }
    } else if (tree.type === "ExportNamedDeclaration" && tree.declaration == null) {
      for (const one of tree.specifiers) {
        if (one.type !== "ExportSpecifier") throw new Error(`${file} exports a ${one.type}`);
        exported.set(
          nameOf(one.exported),
          tree.source == null
            ? one.local.name
            : { file: fileOf(file, tree.source.value), name: one.local.name },
        );
      }
    } else {
      const isExported = tree.type === "ExportNamedDeclaration";
      const refersTo = new Set<string>();
      collect(tree as unknown as Node, refersTo);
      const statement = { tree, text, refersTo };
      for (const name of namesDeclared(isExported ? tree.declaration : tree, file)) {
        declared.set(name, [...(declared.get(name) ?? []), statement]);
        if (isExported) exported.set(name, name);
      }
    }
  }
  return { text, body, declared, imported, exported };
}

function namesDeclared(declaration: unknown, file: string): string[] {
  const { id, declarations, type } = declaration as {
    readonly type: string;
    readonly id?: { readonly name?: string };
    readonly declarations?: readonly { readonly id: { readonly name?: string } }[];
  };
  const names = (declarations?.map((one) => one.id) ?? [id]).flatMap((one) => one?.name ?? []);
  if (names.length === 0) throw new Error(`${file} holds a ${type}, of which no name is known`);
  return names;
}

const nameOf = (node: { readonly type: string; readonly name?: string; readonly value?: string }): string =>
  node.name ?? node.value ?? "";

/** A type that is imported where it stands, as one name. */
function inPlace({ argument, qualifier }: Node): string {
  const { value, literal } = argument as {
    readonly value?: string;
    readonly literal?: { readonly value: string };
  };
  const name = (qualifier as { readonly name?: string } | null)?.name;
  if (name === undefined) throw new Error(`a whole module is imported where it stands: ${value}`);
  return `${value ?? literal?.value} ${name}`;
}

/** Each name below a node. More than are meant, members among them: what they keep is kept without need. */
function collect(node: Node, names: Set<string>): void {
  if (node.type === "Identifier") names.add(String(node.name));
  if (node.type === "TSImportType") names.add(inPlace(node));
  for (const value of Object.values(node))
    for (const one of Array.isArray(value) ? value : [value])
      if (typeof one === "object" && one !== null && typeof one.type === "string") collect(one, names);
}

/** Indented by one tab in the place of four blanks. */
function written({ text, body, declared }: Declarations, names: ReadonlySet<string>): string {
  const lines = [...text.matchAll(/^\/\/\/ .*$/gm)].map(([reference]) => reference);
  const isKept = new Set(
    [...declared].filter(([name]) => names.has(name)).flatMap(([, all]) => all.map(({ tree }) => tree)),
  );
  for (const tree of body) {
    const source = "source" in tree && tree.source ? ` from ${JSON.stringify(nameOf(tree.source))}` : "";
    if (tree.type === "ImportDeclaration") {
      const used = tree.specifiers.filter((one) => names.has(one.local.name));
      if (used.length === 0) continue;
      const single = used.filter((one) => one.type === "ImportSpecifier").map(textOf);
      const whole = used.filter((one) => one.type !== "ImportSpecifier").map(textOf);
      const clause = [...whole, ...(single.length === 0 ? [] : [`{ ${single.join(", ")} }`])].join(", ");
      lines.push(`import ${tree.importKind === "type" ? "type " : ""}${clause}${source};`);
    } else if (tree.type === "ExportNamedDeclaration" && tree.declaration == null) {
      const used = tree.specifiers.filter(
        (one) => one.type === "ExportSpecifier" && names.has(`export ${nameOf(one.exported)}`),
      );
      if (used.length === 0) continue;
      const kind = tree.exportKind === "type" ? "type " : "";
      lines.push(`export ${kind}{ ${used.map(textOf).join(", ")} }${source};`);
    } else if (isKept.has(tree)) {
      const comment = tree.leadingComments?.at(-1);
      if (comment?.value.startsWith("*")) lines.push(textOf(comment));
      lines.push(textOf(tree));
    }
  }
  // Without an import or an export every name of the file would be global.
  lines.push("export {};\n");
  return lines
    .filter((line) => line !== "")
    .join("\n")
    .replace(/^ +/gm, (blanks) => "\t".repeat(Math.floor(blanks.length / 4)) + " ".repeat(blanks.length % 4));

  function textOf(node: { readonly start?: number | null; readonly end?: number | null }): string {
    return text.slice(node.start ?? 0, node.end ?? 0);
  }
}
