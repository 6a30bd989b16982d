/** The build of another revision, in a directory of its own, with the packages of this one. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export interface RevisionBuild {
  /** Short name of the commit. */
  readonly commit: string;
  readonly root: string;
}

/**
 * The directory is removed with this process.
 *
 * @throws when the revision does not exist or does not build.
 */
export function buildRevision(revision: string): RevisionBuild {
  const directory = mkdtempSync(join(tmpdir(), "obo-bench-revision-"));
  const root = join(directory, "gateway");
  process.once("exit", () => {
    spawnSync("git", ["worktree", "remove", "--force", root]);
    rmSync(directory, { recursive: true, force: true });
  });
  const commit = run("git", ["rev-parse", "--short", "--verify", `${revision}^{commit}`]).trim();
  run("git", ["worktree", "add", "--detach", root, commit]);
  symlinkSync(resolve("node_modules"), join(root, "node_modules"));
  run("npm", ["run", "--loglevel=error", "--silent", "build"], root);
  if (run("git", ["diff", "--name-only", commit, "--", "package-lock.json"]) !== "")
    console.log(`the packages of ${commit} were other ones; both builds run with those installed here`);
  return { commit, root };
}

function run(command: string, args: readonly string[], cwd?: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed:\n${stderr}${stdout}`);
  return stdout;
}
