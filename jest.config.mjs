import { availableParallelism } from "node:os";

/** @type {import("jest").Config} */
export default {
  testEnvironment: "<rootDir>/test/support/run/environment.mjs",
  roots: ["<rootDir>/test"],
  testMatch: ["**/*.test.ts"],
  // Those are `npm run test:long`.
  testPathIgnorePatterns: ["/node_modules/", "<rootDir>/test/long/"],
  extensionsToTreatAsEsm: [".ts"],
  // The published testing entry names the package as its users do.
  moduleNameMapper: { "^obo-gateway$": "<rootDir>/src/index.ts" },
  // Tests import what they use.
  injectGlobals: false,
  // Packages are transformed too, into a word for what Node has loaded; jest itself is not, nor msal-node, which keeps
  // for the life of its module the platform whose managed identity it has found.
  transformIgnorePatterns: [],
  transform: {
    "/node_modules/(?!(jest|@jest|expect|@azure/msal-node)).*\\.[cm]?js$":
      "<rootDir>/test/support/run/outside.mjs",
    "^.+\\.ts$": [
      "@swc/jest",
      {
        jsc: { parser: { syntax: "typescript" }, target: "es2023" },
        module: { type: "es6" },
        sourceMaps: true,
      },
    ],
  },
  globalSetup: "<rootDir>/test/support/run/begin.ts",
  globalTeardown: "<rootDir>/test/support/run/end.ts",
  // Only a busy machine comes near it.
  testTimeout: 60_000,
  // A worker waits for sockets about a third of its time.
  maxWorkers: Math.ceil(availableParallelism() * 1.5),
  // A worker of a long run gives hundreds of MiB back at its end, for which half a second is short on a busy machine. Less
  // than what a library's timers that were left behind take by default, two seconds and more: those are still reported.
  workerGracefulExitTimeout: 1_500,
};
