/** Loaded before the gateway: puts a stand-in in the place of one module of `dist`, for what production cannot switch off. */

import { register } from "node:module";

register("./hooks.mjs", import.meta.url, { data: JSON.parse(process.env.BENCH_SUBSTITUTES ?? "{}") });
