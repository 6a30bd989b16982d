/** Runs the steps of a tour one after the other, and prints what each has shown. */

import type { Step } from "./tour.ts";

/** How many steps were not as promised. */
export async function runSteps(steps: readonly Step[], isStopping: () => boolean): Promise<number> {
  let failures = 0;
  for (const [index, step] of steps.entries()) {
    const began = performance.now();
    try {
      const seen = await step.run();
      const ms = (performance.now() - began).toFixed(0);
      console.log(`  ✓ ${index + 1}. ${step.title} (${ms} ms)\n       ${seen}`);
    } catch (error) {
      if (isStopping()) break;
      failures++;
      console.log(
        `  ✗ ${index + 1}. ${step.title}\n       ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  if (!isStopping())
    console.log(failures === 0 ? "\nEverything is as promised." : `\n${failures} step(s) not as promised.`);
  return failures;
}
