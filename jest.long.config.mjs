import config from "./jest.config.mjs";

/**
 * What is long by nature: thousands of requests, a real browser, real proxies and clients of other languages, processes
 * that are started and ended under load, files rendered row by row.
 *
 * @type {import("jest").Config}
 */
export default {
  ...config,
  roots: ["<rootDir>/test/long"],
  testPathIgnorePatterns: ["/node_modules/"],
};
