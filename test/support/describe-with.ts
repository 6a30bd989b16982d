/** Tests that need a program of the system: left out where there is none, and said so; in CI that is a failure. */

import { describe, test } from "@jest/globals";

/** Like `describe`, for tests that need a program: left out, and said so in a line, where there is none; in CI that fails. */
export function describeWith(program: string, name: string, isThere: boolean, tests: () => void): void {
  if (isThere) describe(name, tests);
  else if (process.env.CI === "true")
    test(`${name}: needs ${program}`, () => {
      throw new Error(`${program} is not here, and CI leaves nothing out`);
    });
  else {
    process.stderr.write(`left out, for there is no ${program}: ${name}\n`);
    describe.skip(name, tests);
  }
}
