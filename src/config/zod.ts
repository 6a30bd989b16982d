/** The door to zod: its CommonJS build, since Node takes several times as long to load the hundred ES modules of the other. */

import { createRequire } from "node:module";

const zod: typeof import("zod") = createRequire(import.meta.url)("zod");

// A file is parsed once: compiling a parser for each of its objects costs more than it saves.
zod.config({ jitless: true });

export const z: typeof zod.z = zod.z;
