/** Docker or podman, as far as a test of one container needs it; both take the same words. */

import { spawnSync } from "node:child_process";

export interface Container {
  /** Standard output of node running `program` inside, as the container's own user. */
  run(program: string): string;
  signal(name: "SIGTERM" | "SIGHUP"): void;
  /** Exit code, once it has ended. */
  wait(limitMs: number): number;
  logs(): string;
  remove(): void;
}

export interface Engine {
  inspectImage(image: string): Record<string, unknown>;
  /** `options` come before the image's name; the image's own command and user stay. */
  start(image: string, options: readonly string[]): Container;
}

export function createEngine(name: "docker" | "podman"): Engine {
  const call = (args: readonly string[], timeout = 60_000): string => {
    const { status, stdout, stderr, error } = spawnSync(name, args, {
      encoding: "utf8",
      timeout,
      maxBuffer: 64 * 2 ** 20,
    });
    if (error !== undefined || status !== 0)
      throw new Error(`${name} ${args.slice(0, 2).join(" ")}: ${error?.message ?? stderr.trim()}`);
    return stdout;
  };
  return {
    inspectImage(image) {
      const [one] = JSON.parse(call(["image", "inspect", image])) as Record<string, unknown>[];
      if (one === undefined) throw new Error(`no image ${image}`);
      return one;
    },
    start(image, options) {
      const id = call(["run", "--detach", ...options, image]).trim();
      return {
        run: (program) => call(["exec", id, "node", "-e", program]),
        signal: (signal) => void call(["kill", "--signal", signal, id]),
        wait: (limitMs) => Number(call(["wait", id], limitMs)),
        logs: () => {
          const { stdout, stderr } = spawnSync(name, ["logs", id], { encoding: "utf8" });
          return `${stdout}${stderr}`;
        },
        remove: () => void call(["rm", "--force", id]),
      };
    },
  };
}
