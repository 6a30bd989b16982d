/** A real forward proxy of the system, tinyproxy or squid, that asks for user and password. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test } from "@jest/globals";
import { freePort } from "./free-port.ts";

export interface ForwardProxy {
  /** With user and password, as HTTPS_PROXY would hold it. */
  readonly url: string;
  /** The same with a wrong password. */
  readonly wrongUrl: string;
  /** Requests that it was sent so far, such as `CONNECT localhost:443`, once there are as many. */
  requests(atLeast?: number): Promise<readonly string[]>;
  close(): Promise<void>;
}

export type ProxyKind = "tinyproxy" | "squid";

const directories = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"];
const find = (name: string) => directories.map((one) => join(one, name)).find((path) => existsSync(path));
const programs = { tinyproxy: find("tinyproxy"), squid: find("squid") };
const HELPER = "/usr/lib/squid/basic_ncsa_auth";

/** Once for each proxy that is there; left out, and said so in a line, where one is not. In CI tinyproxy must be there. */
export function describeWithProxies(
  name: string,
  tests: (kind: ProxyKind) => void,
  kinds: readonly ProxyKind[] = ["tinyproxy", "squid"],
): void {
  for (const kind of kinds) {
    const title = `${name}, by ${kind}`;
    if (programs[kind] !== undefined && (kind === "tinyproxy" || existsSync(HELPER))) {
      describe(title, () => tests(kind));
    } else if (process.env.CI === "true" && kind === "tinyproxy") {
      test(`${title}: needs it on PATH`, () => {
        throw new Error(`no ${kind} on PATH, and CI leaves nothing out`);
      });
    } else {
      process.stderr.write(`left out, for there is no ${kind} on PATH: ${name}\n`);
    }
  }
}

export async function startForwardProxy(kind: ProxyKind): Promise<ForwardProxy> {
  const directory = await mkdtemp(join(tmpdir(), "proxy-"));
  // squid gives up its rights before it opens its log.
  await chmod(directory, 0o777);
  const port = await freePort();
  const log = join(directory, "log");
  await writeFile(log, "");
  await chmod(log, 0o666);
  // tinyproxy's configuration takes letters and digits alone.
  const password = kind === "squid" ? "p@ss:w%rd" : "passw0rd";
  const config = join(directory, "conf");
  const child =
    kind === "tinyproxy"
      ? await startTinyproxy({ port, log, config, password })
      : await startSquid({ port, log, config, password, directory });
  await untilListening(port, child);

  const entries = async () => readEntries(await readFile(log, "utf8"), kind);
  return {
    url: `http://gateway:${encodeURIComponent(password)}@127.0.0.1:${port}`,
    wrongUrl: `http://gateway:wrong@127.0.0.1:${port}`,
    async requests(atLeast = 0) {
      for (let attempt = 0; attempt < 100 && (await entries()).length < atLeast; attempt++) await sleep(50);
      return entries();
    },
    async close() {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGKILL");
        await gone;
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

interface Settings {
  readonly port: number;
  readonly log: string;
  readonly config: string;
  readonly password: string;
}

async function startTinyproxy({ port, log, config, password }: Settings): Promise<ChildProcess> {
  const lines = [
    `Port ${port}`,
    "Listen 127.0.0.1",
    "Timeout 60",
    `LogFile "${log}"`,
    "LogLevel Connect",
    "MaxClients 100",
    `BasicAuth gateway ${password}`,
  ];
  await writeFile(config, `${lines.join("\n")}\n`);
  return launch("tinyproxy", ["-d", "-c", config]);
}

async function startSquid(settings: Settings & { readonly directory: string }): Promise<ChildProcess> {
  const { port, log, config, password, directory } = settings;
  const users = join(directory, "users");
  const hash = execFileSync("openssl", ["passwd", "-apr1", password], { encoding: "utf8" }).trim();
  await writeFile(users, `gateway:${hash}\n`, { mode: 0o644 });
  const lines = [
    `http_port 127.0.0.1:${port}`,
    `auth_param basic program ${HELPER} ${users}`,
    "acl users proxy_auth REQUIRED",
    "http_access allow users",
    "http_access deny all",
    "cache deny all",
    "cache_mem 8 MB",
    "pid_filename none",
    "logformat asked %rm %ru %>Hs",
    `access_log stdio:${log} asked`,
    "buffered_logs off",
    "strip_query_terms off",
    "cache_log /dev/null",
    `coredump_dir ${directory}`,
    "shutdown_lifetime 1 second",
    "max_filedescriptors 1024",
  ];
  await writeFile(config, `${lines.join("\n")}\n`, { mode: 0o644 });
  return launch("squid", ["-N", "-f", config]);
}

function launch(kind: ProxyKind, args: readonly string[]): ChildProcess {
  const child = spawn(programs[kind] ?? kind, args, { stdio: "ignore" });
  process.once("exit", () => child.kill("SIGKILL"));
  return child;
}

/** Only what was let through; squid logs a tunnel when it ends. */
function readEntries(text: string, kind: ProxyKind): string[] {
  const pattern =
    kind === "tinyproxy"
      ? /Request \(file descriptor \d+\): (?<method>\S+) (?<target>\S+) HTTP/g
      : /^(?<method>\S+) (?<target>\S+) (?!407)\d+$/gm;
  return [...text.matchAll(pattern)].map(({ groups }) => `${groups?.method} ${groups?.target}`);
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (child.exitCode !== null) throw new Error(`the proxy ended with code ${child.exitCode}`);
    const socket = net.connect(port, "127.0.0.1");
    const connected = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (connected) return;
    await sleep(50);
  }
  throw new Error("the proxy does not come up");
}
