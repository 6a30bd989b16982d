import { expect, test } from "@jest/globals";
import { coalesce } from "../../src/credential/reloading-value.ts";

function manualRuns() {
  const runs: { readonly force: boolean; finish(): void; fail(cause: Error): void }[] = [];
  const share = coalesce(
    (force) =>
      new Promise((resolve, reject) => {
        runs.push({ force, finish: resolve, fail: reject });
      }),
  );
  return { runs, share };
}

test("callers during a run share the one run that begins after it", async () => {
  const { runs, share } = manualRuns();
  const first = share(false);
  const later = Promise.all([share(false), share(true), share(false)]);
  expect(runs).toHaveLength(1);
  runs[0]?.finish();
  await first;
  await Promise.resolve();
  expect(runs.map(({ force }) => force)).toEqual([false, true]);
  runs[1]?.finish();
  await later;
  expect(runs).toHaveLength(2);
});

test("a caller that comes exactly between two runs starts no third one beside them", async () => {
  const { runs, share } = manualRuns();
  const between = share(false).then(() => share(false));
  const queued = share(false);
  runs[0]?.finish();
  while (runs.length < 2) await Promise.resolve();
  runs[1]?.finish();
  await queued;
  // The late caller may share the second run or have to wait for a third; never are two under way.
  runs[2]?.finish();
  await between;
  expect(runs.length).toBeLessThanOrEqual(3);
});

test("a run that fails fails its own callers and nobody after them", async () => {
  const { runs, share } = manualRuns();
  const first = share(false);
  const second = share(false);
  runs[0]?.fail(new Error("disk"));
  await expect(first).rejects.toThrow("disk");
  await Promise.resolve();
  runs[1]?.finish();
  await expect(second).resolves.toBeUndefined();
  const third = share(false);
  runs[2]?.finish();
  await expect(third).resolves.toBeUndefined();
});
