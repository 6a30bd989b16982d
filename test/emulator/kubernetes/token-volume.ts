/** A projected service-account volume on disk, exchanged the way the kubelet's atomic writer does it. */

import { randomInt } from "node:crypto";
import { mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MountOptions, ServiceAccountTokenOptions, TokenVolume } from "../handle.ts";

const FILE_NAME = "azure-identity-token";
const FILE_MODE = 0o640;

/**
 * Lays out `..<date>/<file>`, `..data -> ..<date>` and `<file> -> ..data/<file>`, then changes content only by
 * renaming a new link over `..data`, so that readers see the old token or the new one and never a mixture.
 */
export async function mountTokenVolume(
  directory: string,
  issueToken: (options: ServiceAccountTokenOptions) => string,
  options: MountOptions = {},
): Promise<TokenVolume> {
  const { directory: _, fileName = FILE_NAME, fileMode = FILE_MODE, ...token } = options;
  const tokenFile = join(directory, fileName);
  const data = join(directory, "..data");
  let current: string | undefined;

  const exchange = async (content: string | undefined): Promise<void> => {
    const dated = `..${timestamp()}.${randomInt(1e8, 1e9)}`;
    await mkdir(join(directory, dated), { mode: 0o755 });
    if (content !== undefined) await writeFile(join(directory, dated, fileName), content, { mode: fileMode });
    await symlink(dated, `${data}_tmp`);
    await rename(`${data}_tmp`, data);
    if (current !== undefined) await rm(join(directory, current), { recursive: true, force: true });
    current = dated;
  };
  const unmount = async () => {
    const entries = [tokenFile, data, ...(current === undefined ? [] : [join(directory, current)])];
    for (const entry of entries) await rm(entry, { recursive: true, force: true });
    current = undefined;
  };

  await mkdir(directory, { recursive: true });
  // What an emulator that was killed has left in a kept directory.
  for (const name of await readdir(directory)) {
    if (name.startsWith("..") || name === fileName) await rm(join(directory, name), { recursive: true });
  }
  await exchange(issueToken(token));
  await symlink(join("..data", fileName), tokenFile);

  return {
    directory,
    tokenFile,
    rotate: (changes = {}) => exchange(issueToken({ ...token, ...changes })),
    async breakWith(defect) {
      const whole = issueToken(token);
      const contents = { missing: undefined, empty: "", "half-written": whole.slice(0, whole.length / 2) };
      await exchange(contents[defect]);
    },
    remove: unmount,
  };
}

function timestamp(): string {
  const [date = "", time = ""] = new Date().toISOString().slice(0, 19).split("T");
  return `${date.replaceAll("-", "_")}_${time.replaceAll(":", "_")}`;
}
