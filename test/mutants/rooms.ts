/** The rooms whose tests are measured, and the tests that are asked. */

export interface Room {
  readonly name: string;
  readonly source: string;
  /** Folders and files. */
  readonly tests: readonly string[];
  /** Tests that say the same with thousands of requests, for which a mutant cannot wait. */
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
    without: ["test/identity/isolation.test.ts"],
  },
  {
    name: "exchange",
    source: "src/exchange",
    tests: ["test/exchange"],
    without: ["test/exchange/isolation.test.ts"],
  },
];
