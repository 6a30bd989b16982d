/** Writes config/gateway.schema.json from the code's own schema, or with --check fails when the file has drifted. */

import { readFileSync, writeFileSync } from "node:fs";
import { gatewayJsonSchema } from "./json-schema.ts";

const file = new URL("../../config/gateway.schema.json", import.meta.url);
const wanted = `${JSON.stringify(gatewayJsonSchema(), null, 2)}\n`;

if (!process.argv.includes("--check")) {
  writeFileSync(file, wanted);
} else if (readFileSync(file, "utf8") !== wanted) {
  console.error("config/gateway.schema.json differs from src/config/schema.ts; run: npm run schema");
  process.exitCode = 1;
}
