/**
 * A transformer for files of node_modules. Jest evaluates every module again for each test file, and packages like
 * msal-node, zod and undici cost more than most tests; so a test file's module stands for the one that Node loaded
 * outside of jest, once per worker process.
 */

import { createRequire } from "node:module";
import { LOAD_OUTSIDE } from "./environment.mjs";

const require = createRequire(import.meta.url);

export default {
  process(_source, filename, { supportsStaticESM }) {
    const loaded = `globalThis[Symbol.for(${JSON.stringify(LOAD_OUTSIDE)})](${JSON.stringify(filename)})`;
    const exported = require(filename);
    if (!supportsStaticESM || exported?.[Symbol.toStringTag] !== "Module")
      return { code: `module.exports = ${loaded};` };
    const names = Object.keys(exported).map((name) => JSON.stringify(name));
    return {
      code: [
        `const outside = ${loaded};`,
        ...names.map((name, index) => `const _${index} = outside[${name}];`),
        `export { ${names.map((name, index) => `_${index} as ${name}`).join(", ")} };`,
      ].join("\n"),
    };
  },
};
