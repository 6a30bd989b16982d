/** Second half of docker/test-image.sh: runs a built image and judges it. */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { createEngine } from "./engine.ts";
import { rehearse } from "./rehearsal.ts";
import { type Inside, imageFaults, type LockedPackages, megabytes } from "./rules.ts";

const MEMORY_MIB = 256;

const { values } = parseArgs({
  options: {
    engine: { type: "string" },
    image: { type: "string" },
    "limit-mb": { type: "string", default: "200" },
    directory: { type: "string" },
  },
});
const { engine: name, image, directory } = values;
if ((name !== "docker" && name !== "podman") || image === undefined || directory === undefined)
  throw new Error("called by docker/test-image.sh");

const engine = createEngine(name);
const { Config, Size } = engine.inspectImage(image) as {
  Config: { User?: string; Entrypoint?: string[] | null; Cmd?: string[] | null };
  Size: number;
};
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: LockedPackages };
const probe = readFileSync(new URL("probe.cjs", import.meta.url), "utf8");
const say = (line: string) => console.log(`  ✓ ${line}`);

try {
  await rehearse({
    engine,
    image,
    directory,
    memoryMib: MEMORY_MIB,
    say,
    inspect: (container) => {
      const inside = JSON.parse(container.run(probe)) as Inside;
      const command = [...(Config.Entrypoint ?? []), ...(Config.Cmd ?? [])];
      const faults = imageFaults(
        { user: Config.User ?? "", command, inside },
        {
          limitBytes: Number(values["limit-mb"]) * 1e6,
          containerBytes: MEMORY_MIB * 2 ** 20,
          locked: packages,
        },
      );
      if (faults.length > 0) throw new Error(listed(faults));
      say(
        `${megabytes(inside.unpackedBytes)} unpacked in ${inside.files.length} files (${name} counts ${megabytes(Size)}), no development dependency`,
      );
      say(
        "uid 10001, no capability, no new privileges, seccomp filter, read-only root, heap below the container's memory",
      );
    },
  });
} catch (error) {
  console.error(`  ✗ ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

/** What is wrong with one package is often wrong with each of its files. */
function listed(faults: readonly string[]): string {
  const most = 20;
  const more = faults.length - most;
  return [...faults.slice(0, most), ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}
