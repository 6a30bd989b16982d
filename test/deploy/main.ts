/** `npm run verify:deploy`: exit 1 for a fault, and with CI=true for a check that could not be made. */

import { fileURLToPath } from "node:url";
import { verifyDeployment } from "./verify.ts";

const { checked, skipped, faults } = await verifyDeployment(fileURLToPath(new URL("../..", import.meta.url)));
const required = process.env.CI === "true";

for (const line of checked) console.log(`checked  ${line}`);
for (const line of skipped) console.log(`${required ? "fault   " : "skipped "} ${line}`);
for (const line of faults) console.log(`fault    ${line}`);

const count = faults.length + (required ? skipped.length : 0);
console.log(count === 0 ? "no faults" : `${count} ${count === 1 ? "fault" : "faults"}`);
process.exitCode = count === 0 ? 0 : 1;
