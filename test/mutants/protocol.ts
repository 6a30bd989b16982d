/** What the runner and its worker process say to each other. */

/** A test file as one script, with every mutation of a room in it. */
export interface TestScript {
  /** Of the test file, from the root of the repository. */
  readonly file: string;
  readonly code: string;
  /** Modules that the script takes from node_modules and from Node. */
  readonly imports: readonly string[];
}

/** The worker's first answer: the script and its modules are there, and the time of the run begins. */
export const LOADED = "loaded";

export interface Order {
  readonly script: TestScript;
  /** None for a run of the code as it is. */
  readonly mutant: number | undefined;
  /** Places of the tests to run, in the order of the file; all where absent. */
  readonly tests?: readonly number[];
  /** Of each test and each hook, ms. */
  readonly timeoutMs: number;
  /** How many places of mutations the run may pass, before it is taken to go round for ever. */
  readonly mostPassed?: number;
}

export interface TestRun {
  readonly name: string;
  readonly ms: number;
  /** Numbers of the mutations whose place the test passed. */
  readonly reached: readonly number[];
}

export interface Outcome {
  /** The first test that failed, or the file where it failed outside of one. */
  readonly failed:
    | {
        readonly test: number | undefined;
        readonly message: string;
        readonly timedOut: false | "round" | "waiting";
      }
    | undefined;
  /** Only for a run of the code as it is. */
  readonly tests: readonly TestRun[];
  /** What was passed outside of tests: while the file was loaded, and in hooks. */
  readonly reachedByAll: readonly number[];
  /** How many places of mutations were passed. */
  readonly passed: number;
  readonly ms: number;
}
