/**
 * Makes what `npm pack` ships out of what `npm run build` made: declarations that the entries reach, and code without
 * comments and blanks. Names stay, so that a stack trace names its functions.
 */

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { minify } from "@swc/core";

const ENTRIES = ["dist/index.d.ts", "dist/testing/testing/testing.d.ts"];

const files = readdirSync("dist", { recursive: true, encoding: "utf8" }).map((name) => resolve("dist", name));

const reached = new Set<string>();
const walk = (file: string): void => {
  if (reached.has(file)) return;
  reached.add(file);
  const text = readFileSync(file, "utf8");
  for (const [, specifier = ""] of text.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)) {
    const stem = join(dirname(file), specifier).replace(/\.(?:js|ts)$/, "");
    walk(`${stem}.d.ts`);
  }
};
for (const entry of ENTRIES) walk(resolve(entry));

for (const file of files) {
  if (file.endsWith(".map") || (file.endsWith(".d.ts") && !reached.has(file))) rmSync(file);
  else if (file.endsWith(".js")) {
    const written = readFileSync(file, "utf8");
    const { code } = await minify(written, {
      module: true,
      compress: false,
      mangle: { toplevel: false, keep_fnames: true, keep_classnames: true },
    });
    const shebang = /^#!.*\n/.exec(written)?.[0] ?? "";
    writeFileSync(file, code.startsWith("#!") ? code : shebang + code);
  }
}
