/** `npm run sbom [-- FILE]`: what production consists of, as CycloneDX. Default file: sbom.cdx.json. */

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { type Lockfile, productionPackages, READ_BY_HAND } from "./licences.ts";

interface Sbom {
  metadata: { component: { name: string; "bom-ref": string } };
  components: {
    "bom-ref": string;
    name: string;
    version: string;
    licenses?: { license: { id: string } }[];
  }[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

const [file = "sbom.cdx.json"] = process.argv.slice(2);
// From the lockfile alone: the same on every machine, whatever is installed there. `--omit dev` is not used, because it
// also drops what production shares with a development dependency.
const { status, stdout, stderr } = spawnSync(
  "npm",
  ["sbom", "--sbom-format", "cyclonedx", "--package-lock-only"],
  { encoding: "utf8", maxBuffer: 64 * 2 ** 20 },
);
if (status !== 0) throw new Error(`npm sbom: ${stderr}`);
const sbom = JSON.parse(stdout) as Sbom;

const shipped = new Set(
  productionPackages(JSON.parse(readFileSync("package-lock.json", "utf8")) as Lockfile).map(({ id }) => id),
);
sbom.components = sbom.components.filter(({ name, version }) => shipped.has(`${name}@${version}`));
for (const component of sbom.components) {
  const licence = READ_BY_HAND[`${component.name}@${component.version}`];
  if (component.licenses === undefined && licence !== undefined)
    component.licenses = [{ license: { id: licence } }];
}

const root = sbom.metadata.component;
// npm puts the directory's name there.
root.name = (JSON.parse(readFileSync("package.json", "utf8")) as { name: string }).name;
const refs = new Set([root["bom-ref"], ...sbom.components.map((component) => component["bom-ref"])]);
sbom.dependencies = sbom.dependencies
  .filter(({ ref }) => refs.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((one) => refs.has(one)) }));

writeFileSync(file, `${JSON.stringify(sbom, undefined, 2)}\n`);
console.log(`${file}: ${sbom.components.length} components`);
