/** Tests that need a Redis, where there is a redis-server to start. */

import { describe, test } from "@jest/globals";
import { redisServerPath } from "./redis-server.ts";

/** Like `describe`, for tests that need a redis-server: left out, and said so, where there is none; in CI that fails. */
export function describeWithRedis(name: string, tests: () => void): void {
  if (redisServerPath !== undefined) {
    describe(name, tests);
    return;
  }
  if (process.env.CI === "true") {
    test(`${name}: needs a redis-server on PATH`, () => {
      throw new Error("no redis-server on PATH, and CI leaves nothing out");
    });
    return;
  }
  process.stderr.write(`left out, for there is no redis-server on PATH: ${name}\n`);
  describe.skip(name, tests);
}
