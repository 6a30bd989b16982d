/** Writes what is generated from the configuration's code, or with --check fails when a file has drifted from it. */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gatewayJsonSchema } from "./json-schema.ts";
import { configurationReference } from "./reference.ts";

const root = new URL("../../", import.meta.url);
const schema = gatewayJsonSchema();
const generated: Readonly<Record<string, string>> = {
  // Part of the package, where two characters a level would take 16 KB more.
  "config/gateway.schema.json": `${JSON.stringify(schema, null, 1)}\n`,
  "docs/configuration.md": configurationReference({
    schema,
    envExample: readFileSync(new URL(".env.example", root), "utf8"),
  }),
};

mkdirSync(new URL("docs", root), { recursive: true });
for (const [name, wanted] of Object.entries(generated)) {
  const file = new URL(name, root);
  if (!process.argv.includes("--check")) {
    writeFileSync(file, wanted);
  } else if (readFileSync(file, "utf8") !== wanted) {
    console.error(`${name} differs from src/config/; run: npm run schema`);
    process.exitCode = 1;
  }
}
