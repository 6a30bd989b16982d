/** A server of the Model Context Protocol from outside this repository, as a process of its own. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { freePort } from "./free-port.ts";

export interface EverythingServer {
  /** Where it takes messages. */
  readonly url: string;
  stop(): Promise<void>;
}

const PROGRAM = fileURLToPath(
  new URL("../../node_modules/@modelcontextprotocol/server-everything/dist/index.js", import.meta.url),
);
const START_LIMIT_MS = 30_000;

/** Its tools, resources and prompts are real, its sessions are those of 2025, and lost streams can be taken up again. */
export async function startEverythingServer(): Promise<EverythingServer> {
  const port = await freePort();
  const child = spawn(process.execPath, [PROGRAM, "streamableHttp"], {
    env: { PATH: process.env.PATH, PORT: String(port) },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    const fail = () => reject(new Error(`the server did not start; it said:\n${said.join("\n")}`));
    const limit = setTimeout(fail, START_LIMIT_MS);
    child.once("exit", fail);
    createInterface({ input: child.stderr }).on("line", (line) => {
      said.push(line);
      if (!line.includes("listening on port")) return;
      clearTimeout(limit);
      child.off("exit", fail);
      resolve();
    });
  });
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    async stop() {
      if (child.exitCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
