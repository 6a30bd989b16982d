/** `obo-gateway start --watch`: a gateway for development, started again when the operator's code or `.env` changes. */

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { DOT_ENV_FILE, fileOf } from "../config/load.ts";
import { environmentWith } from "./configuration.ts";

/** How often files are looked at, ms. */
const LOOK_MS = 400;
/** How long the gateway may take to finish its requests before it is asked to end at once, ms. */
const PATIENCE_MS = 500;
/** How long it may take to end at once, ms. */
const LIMIT_MS = 3_000;
/** Files of code that are looked at; a larger project restarts by hand. */
const MOST_FILES = 2_000;

const CODE = /\.(?:[cm]?[jt]s|json)$/;

/**
 * A process of its own is started again, because a module that was imported once cannot be unloaded. gateway.yaml is the
 * running gateway's matter, which takes a change over without a restart; where it has ended, a change of the file starts
 * it again.
 */
export async function startWatching({ config }: { readonly config?: string }): Promise<void> {
  const environment = environmentWith(config);
  const module = environment.GATEWAY_HANDLERS?.trim();
  const code = module === undefined || module === "" ? undefined : dirname(resolve(module));
  const ofStart = () => new Map([...stampsOf([fileURLToPath(DOT_ENV_FILE)]), ...codeStamps(code)]);
  const ofRefusal = () => stampsOf([resolve(fileOf(environment))]);

  let stopping = false;
  let child = start(config);
  const stop = (signal: NodeJS.Signals) => {
    stopping = true;
    // A terminal sends its signal to both.
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);

  let seen = ofStart();
  let seenConfig = ofRefusal();
  let reported = false;
  while (!stopping) {
    await delay(LOOK_MS);
    const now = ofStart();
    const nowConfig = ofRefusal();
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    const changed = differing(seen, now) ?? (hasEnded ? differing(seenConfig, nowConfig) : undefined);
    seen = now;
    seenConfig = nowConfig;
    if (stopping) break;
    if (changed !== undefined) {
      say(`${basename(changed)} has changed; starting again`);
      await end(child);
      child = start(config);
      reported = false;
    } else if (hasEnded && !reported) {
      reported = true;
      say(`the gateway has ended with code ${child.exitCode ?? child.signalCode}; waiting for a change`);
    }
  }
  process.exitCode = (await ended(child)) ?? 1;
}

function start(config: string | undefined): ChildProcess {
  const [, program = ""] = process.argv;
  return spawn(process.execPath, [...process.execArgv, program, "start"], {
    stdio: "inherit",
    env: { ...process.env, ...(config !== undefined && { GATEWAY_CONFIG: config }) },
  });
}

async function end(child: ChildProcess): Promise<void> {
  for (const [signal, waitMs] of [
    ["SIGTERM", PATIENCE_MS],
    // A second one ends at once.
    ["SIGTERM", LIMIT_MS],
    ["SIGKILL", LIMIT_MS],
  ] as const) {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await Promise.race([ended(child), delay(waitMs, undefined, { ref: false })]);
  }
}

function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => child.once("exit", (code) => resolve(code)));
}

/** The first file that is new, gone or written since. */
function differing(before: Stamps, after: Stamps): string | undefined {
  for (const [file, stamp] of after) if (before.get(file) !== stamp) return file;
  for (const file of before.keys()) if (!after.has(file)) return file;
  return undefined;
}

type Stamps = ReadonlyMap<string, string>;

function stampsOf(files: readonly string[]): Stamps {
  return new Map(
    files.flatMap((file): [string, string][] => {
      const stats = statSync(file, { throwIfNoEntry: false });
      return stats === undefined ? [] : [[file, `${stats.mtimeMs} ${stats.size} ${stats.ino}`]];
    }),
  );
}

/** The code beside the handlers' module and below, without what was installed. */
function codeStamps(directory: string | undefined): Stamps {
  const files: string[] = [];
  const folders = directory === undefined ? [] : [directory];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    if (files.length >= MOST_FILES) break;
    let entries: ReturnType<typeof readEntries>;
    try {
      entries = readEntries(folder);
    } catch {
      // Gone between two looks; what was in it shows as gone, too.
      continue;
    }
    for (const entry of entries) {
      if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(path);
      else if (CODE.test(entry.name)) files.push(path);
    }
  }
  return stampsOf(files.slice(0, MOST_FILES));
}

const readEntries = (folder: string) => readdirSync(folder, { withFileTypes: true });

function say(text: string): void {
  console.error(`obo-gateway: ${text}`);
}
