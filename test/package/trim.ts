/**
 * Makes what `npm pack` ships out of what `npm run build` made: declarations that the entries reach, and code and data without
 * comments and blanks. Names of functions and classes stay, so that a stack trace names them.
 */

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { minify } from "@swc/core";
import { reachedDeclarations } from "./declarations.ts";

const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as {
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>;
};
const entries = Object.values(exports).flatMap((one) => (typeof one === "string" ? [] : resolve(one.types)));
const declarations = reachedDeclarations(entries);

const NAMES = { keep_fnames: true, keep_classnames: true };

for (const name of readdirSync("dist", { recursive: true, encoding: "utf8" })) {
  const file = resolve("dist", name);
  const reached = declarations.get(file);
  if (reached !== undefined) writeFileSync(file, reached);
  else if (file.endsWith(".map") || file.endsWith(".d.ts")) rmSync(file);
  else if (file.endsWith(".json"))
    writeFileSync(file, JSON.stringify(JSON.parse(readFileSync(file, "utf8"))));
  else if (file.endsWith(".js")) {
    const written = readFileSync(file, "utf8");
    const { code } = await minify(written, {
      module: true,
      // A function that stands in the place of its call would be missing in a stack trace.
      compress: { ...NAMES, toplevel: true, inline: 0, passes: 2 },
      mangle: { ...NAMES, toplevel: true },
    });
    const shebang = /^#!.*\n/.exec(written)?.[0] ?? "";
    writeFileSync(file, code.startsWith("#!") ? code : shebang + code);
  }
}
