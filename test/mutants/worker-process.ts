/** A worker process and its end: it is asked one thing at a time, and replaced when it hangs, ends or is worn out. */

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { LOADED, type Order, type Outcome } from "./protocol.ts";

export interface WorkerProcess {
  /** `hung` where the worker did not answer in time, `ended` where it ended; either is followed by a new process. */
  ask(order: Order, limitMs: number): Promise<Outcome | "hung" | "ended">;
  /** The next order goes to a new process. */
  restart(): Promise<void>;
}

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));

/** For the modules of a test file on a busy machine. */
const LOADING_LIMIT_MS = 60_000;

export function createWorkerProcess(env: Readonly<Record<string, string>>): WorkerProcess {
  let child: ChildProcess | undefined;

  const begin = () =>
    fork(WORKER, {
      execArgv: ["--import", "tsx", "--disable-warning=ExperimentalWarning", "--max-old-space-size=768"],
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      serialization: "advanced",
    });

  async function restart(): Promise<void> {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    await new Promise((resolve) => {
      ending.once("exit", resolve);
      ending.kill("SIGKILL");
    });
  }

  return {
    restart,
    async ask(order, limitMs) {
      child ??= begin();
      const asked = child;
      const answer = await new Promise<Outcome | "hung" | "ended">((resolve) => {
        let limit = setTimeout(() => settle("hung"), LOADING_LIMIT_MS);
        const onMessage = (message: Outcome | typeof LOADED) => {
          if (message !== LOADED) return settle(message);
          clearTimeout(limit);
          limit = setTimeout(() => settle("hung"), limitMs);
        };
        const onExit = () => settle("ended");
        function settle(result: Outcome | "hung" | "ended"): void {
          clearTimeout(limit);
          asked.off("message", onMessage);
          asked.off("exit", onExit);
          resolve(result);
        }
        asked.on("message", onMessage);
        asked.on("exit", onExit);
        asked.send(order);
      });
      if (typeof answer === "string") await restart();
      return answer;
    },
  };
}
