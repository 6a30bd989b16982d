/** Loaded before the gateway: puts stand-ins in the place of modules of `dist`, or changes their text, for what production cannot switch off. */

import { register } from "node:module";

register("./hooks.mjs", import.meta.url, {
  data: {
    substitutes: JSON.parse(process.env.BENCH_SUBSTITUTES ?? "{}"),
    edits: JSON.parse(process.env.BENCH_EDITS ?? "{}"),
  },
});
