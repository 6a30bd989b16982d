/** The door to zod: its CommonJS build, since Node takes several times as long to load the hundred ES modules of the other. */

import { createRequire } from "node:module";

const zod: typeof import("zod") = createRequire(import.meta.url)("zod");

export const z: typeof zod.z = zod.z;
