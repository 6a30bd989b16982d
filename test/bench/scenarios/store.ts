/** The record store of the token cache beside plain Maps: time of a find, memory, and collections, by number of entries. */

import { spawnSync } from "node:child_process";
import { median, spread } from "../statistics.ts";
import { resultTable } from "../table.ts";

const ENTRIES = [10_000, 100_000, 1_000_000];
const KINDS = [
  { kind: "store", name: "records" },
  { kind: "map", name: "Maps" },
];
const RUNS = 3;

interface Figures {
  readonly keptNs: number;
  readonly freshNs: number;
  readonly bytes: number;
  readonly collectionMs: number;
  readonly putUs: number;
}

/** Prints a table. Each run is a process of its own, and both kinds take turns. */
export async function benchStore(): Promise<boolean> {
  const rows = ENTRIES.flatMap((entries) => {
    const runs = KINDS.map((): Figures[] => []);
    for (let run = 0; run < RUNS; run += 1)
      KINDS.forEach(({ kind }, index) => {
        runs[index]?.push(measure(kind, entries));
      });
    return KINDS.map(({ name }, index) => {
      const of = (figure: keyof Figures) => (runs[index] ?? []).map((one) => one[figure]);
      return {
        name: `${entries.toLocaleString("en")} entries, ${name}`,
        figures: [
          median(of("keptNs")),
          spread(of("keptNs")) * 100,
          median(of("freshNs")),
          median(of("bytes")),
          median(of("collectionMs")),
          median(of("putUs")),
        ],
      };
    });
  });
  console.log(
    resultTable({
      title: `store of delegated tokens: median of ${RUNS} processes each`,
      columns: [
        { name: "find ns", digits: 0 },
        { name: "spread", digits: 0, unit: " %" },
        { name: "new text", digits: 0 },
        { name: "bytes each", digits: 0 },
        { name: "collect ms", digits: 0 },
        { name: "put µs", digits: 1 },
      ],
      rows,
      targets: [],
      notes: [
        "find: with a digest whose hash V8 has kept; new text: with one that it has not seen, without the time to make it",
        "bytes: without the text of the token; collect: one full collection of everything",
      ],
    }),
  );
  return true;
}

function measure(kind: string, entries: number): Figures {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      "--expose-gc",
      "--max-old-space-size=4096",
      "--import",
      "tsx",
      "test/bench/cache-store-main.ts",
      kind,
      `${entries}`,
    ],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`the store of ${entries} entries failed:\n${stderr}`);
  return JSON.parse(stdout) as Figures;
}
