/** The rooms whose tests are measured, and the tests that are asked. */

export interface Room {
  readonly name: string;
  readonly source: string;
  /** Folders and files. */
  readonly tests: readonly string[];
  /** Tests that say the same with thousands of requests, or wait out time limits, for which a mutant cannot wait. */
  readonly without: readonly string[];
}

export const ROOMS: readonly Room[] = [
  {
    name: "downstream/target",
    source: "src/downstream/target",
    tests: ["test/downstream/target"],
    without: [],
  },
  {
    name: "downstream/headers",
    source: "src/downstream/headers",
    tests: ["test/downstream/headers"],
    without: [],
  },
  { name: "credential", source: "src/credential", tests: ["test/credential"], without: [] },
  {
    name: "identity",
    source: "src/identity",
    tests: ["test/identity"],
    without: ["test/identity/outage-matrix.test.ts"],
  },
  {
    name: "exchange",
    source: "src/exchange",
    // The page of Entra's errors is written from the table of codes, and holds it.
    tests: ["test/exchange", "test/docs/errors-entra.test.ts"],
    without: ["test/exchange/isolation.test.ts"],
  },
];
