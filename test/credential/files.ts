/** Credential files in a directory of their own, written the way operators and the kubelet write them. */

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Directory {
  readonly path: string;
  /** Replaces a file in one step, as careful writers do; returns its path. */
  write(name: string, content: string | Buffer, mode?: number): string;
  remove(): void;
}

export function createDirectory(): Directory {
  const path = mkdtempSync(join(tmpdir(), "credential-"));
  let written = 0;
  return {
    path,
    write(name, content, mode = 0o600) {
      const draft = join(path, `.draft-${++written}`);
      writeFileSync(draft, content, { mode });
      // One second per write: a test is faster than the clock tick that tells two writes apart.
      utimesSync(draft, written, written);
      renameSync(draft, join(path, name));
      return join(path, name);
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

export interface ProjectedVolume {
  /** Where the pod sees the file: a link to `..data/<name>`. */
  readonly file: string;
  /** Writes a new dated directory and exchanges the `..data` link in one step, as the kubelet does. */
  publish(content: string): void;
}

export function createProjectedVolume(directory: Directory, name: string, content: string): ProjectedVolume {
  let generation = 0;
  const publish = (next: string) => {
    const dated = `..2026_11_21_${++generation}`;
    mkdirSync(join(directory.path, dated));
    writeFileSync(join(directory.path, dated, name), next, { mode: 0o644 });
    symlinkSync(dated, join(directory.path, "..data_tmp"));
    renameSync(join(directory.path, "..data_tmp"), join(directory.path, "..data"));
    if (generation > 1) {
      rmSync(join(directory.path, `..2026_11_21_${generation - 1}`), { recursive: true });
    }
  };
  publish(content);
  symlinkSync(join("..data", name), join(directory.path, name));
  return { file: join(directory.path, name), publish };
}
