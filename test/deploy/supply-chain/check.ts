/** `npm run licences`: exit 1 when a production dependency may not be shipped. */

import { readFileSync } from "node:fs";
import { isAllowed, type Lockfile, productionPackages, READ_BY_HAND, supplyChainFaults } from "./licences.ts";

const lockfile = JSON.parse(readFileSync("package-lock.json", "utf8")) as Lockfile;
const faults = supplyChainFaults(lockfile);
for (const fault of faults) console.log(`fault    ${fault}`);

const counts = new Map<string, number>();
for (const { id, license = READ_BY_HAND[id] ?? "unknown" } of productionPackages(lockfile))
  counts.set(license, (counts.get(license) ?? 0) + 1);
for (const [licence, count] of [...counts].toSorted(([, one], [, other]) => other - one))
  console.log(`${isAllowed(licence) ? "allowed " : "refused "} ${licence}: ${count}`);
process.exitCode = faults.length === 0 ? 0 : 1;
