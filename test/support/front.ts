/** The proxies of docker/nginx, docker/caddy and docker/haproxy as real processes, in front of an API and beside a gateway. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "./free-port.ts";

/** Which configuration of docker/ a proxy runs. */
export type Front = "nginx" | "nginx with its cache" | "nginx with Lua" | "caddy" | "haproxy";

const directories = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/lib/go/bin"];

/** Where a program is; undefined where there is none. */
export function programAt(name: string): string | undefined {
  return directories.map((one) => join(one, name)).find((path) => existsSync(path));
}

export interface RunningFront {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface FrontPorts {
  /** Of the gateway's local API. */
  readonly gateway: number;
  readonly api: number;
}

const docker = fileURLToPath(new URL("../../docker", import.meta.url));
const FOLDER: Readonly<Record<Front, string>> = {
  nginx: "nginx",
  "nginx with its cache": "nginx",
  "nginx with Lua": "nginx",
  caddy: "caddy",
  haproxy: "haproxy",
};

/** Where Debian's package has it, as docker/nginx/nginx-lua.conf expects. */
const LUA_MODULE = "/usr/lib/nginx/modules/ngx_http_lua_module.so";

export function programOf(front: Front): string | undefined {
  if (front === "nginx with Lua" && !existsSync(LUA_MODULE)) return undefined;
  return programAt(FOLDER[front]);
}

/**
 * Runs a configuration as it stands in docker/, at free ports.
 *
 * @param change What else is changed of each file's text.
 * @param isOneProcess Of nginx: no master and no workers, so that its use of the processor is one process'.
 */
export async function startFront(
  front: Front,
  ports: FrontPorts,
  change: (text: string) => string = (text) => text,
  isOneProcess = false,
): Promise<RunningFront> {
  const directory = await mkdtemp(join(tmpdir(), "front-"));
  await chmod(directory, 0o755);
  await cp(join(docker, FOLDER[front]), directory, { recursive: true });
  const port = await freePort();
  for (const name of await readdir(directory)) {
    const file = join(directory, name);
    const text = await readFile(file, "utf8");
    await writeFile(file, change(atPorts(text, directory, { ...ports, port })));
  }
  const child = spawn(programOf(front) ?? front, argumentsOf(front, directory, isOneProcess), {
    cwd: directory,
    env: {
      PATH: process.env.PATH ?? "",
      HOME: directory,
      XDG_DATA_HOME: directory,
      XDG_CONFIG_HOME: directory,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  let output = "";
  child.stderr.on("data", (chunk) => {
    output = (output + chunk).slice(-4_000);
  });
  await untilListening(port, child, () => output);
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    pid: child.pid as number,
    async stop() {
      process.off("exit", kill);
      const gone = new Promise((resolve) => child.once("exit", resolve));
      // nginx ends its workers at this signal, and not at SIGKILL.
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM");
        const limit = setTimeout(kill, 3_000);
        await gone;
        clearTimeout(limit);
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function atPorts(
  text: string,
  directory: string,
  { gateway, api, port }: FrontPorts & { readonly port: number },
): string {
  return text
    .replaceAll("127.0.0.1:5178", `127.0.0.1:${gateway}`)
    .replaceAll("127.0.0.1:3000", `127.0.0.1:${api}`)
    .replaceAll("/dev/shm/obo-decisions", join(directory, "decisions"))
    .replaceAll("/etc/nginx/", `${directory}/`)
    .replace("listen 8000;", `listen 127.0.0.1:${port};`)
    .replace("bind :8000", `bind 127.0.0.1:${port}`)
    .replace(/^:8000 \{/m, `http://127.0.0.1:${port} {`)
    .replace(/^http \{/m, "http {\n  access_log off;\n  keepalive_requests 1000000;");
}

function argumentsOf(front: Front, directory: string, isOneProcess: boolean): string[] {
  if (front === "caddy") return ["run", "--config", join(directory, "Caddyfile"), "--adapter", "caddyfile"];
  if (front === "haproxy") return ["-db", "-f", join(directory, "haproxy.cfg")];
  const file =
    front === "nginx with Lua" ? "nginx-lua.conf" : front === "nginx" ? "nginx.conf" : "nginx-cached.conf";
  // Its workers keep the rights of this process, for the directory is this process' own.
  const user = process.getuid?.() === 0 ? "user root; " : "";
  const global = `daemon off; pid ${join(directory, "nginx.pid")}; ${user}worker_processes 1;${isOneProcess ? " master_process off;" : ""}`;
  return ["-p", directory, "-c", join(directory, file), "-e", "stderr", "-g", global];
}

async function untilListening(port: number, child: ChildProcess, output: () => string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`the proxy ended with code ${child.exitCode}:\n${output()}`);
    const socket = connect(port, "127.0.0.1");
    const connected = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (connected) return;
    await sleep(50);
  }
  throw new Error(`the proxy does not come up:\n${output()}`);
}
