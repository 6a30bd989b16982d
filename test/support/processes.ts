/** Emulator and gateway as processes of their own, for the demo and for tests of what only a process can show. */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { keysOfChild } from "../emulator/rsa-keys.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const START_LIMIT_MS = 30_000;

type Child = ChildProcessByStdio<Writable, Readable, null>;

/** What the emulator says of itself with `--json`; all strings. */
export interface EmulatorFacts {
  readonly authorityHost: string;
  readonly graphUrl: string;
  readonly controlUrl: string;
  readonly tenantId: string;
  readonly clientId: string;
  readonly frontEndClientId: string;
  readonly publicClientId: string;
  readonly ordersClientId: string;
  readonly caFile: string;
  readonly clientCertificateFile: string;
  readonly federatedTokenFile: string;
}

interface RunningProcess {
  /** Ends it as an operator would, with SIGTERM. Rejects unless it exits with code 0. */
  stop(): Promise<void>;
  /** Ends it as a crash would. */
  kill(): Promise<void>;
}

export interface EmulatorProcess extends RunningProcess {
  readonly facts: EmulatorFacts;
}

export interface GatewayProcess extends RunningProcess {
  readonly url: string;
  readonly adminUrl: string;
  /** From the start of the process until `/readyz` agreed, ms. */
  readonly readyAfterMs: number;
  signal(name: NodeJS.Signals): void;
  /** Its exit code, once it has ended. */
  readonly exited: Promise<number | null>;
  /** The newest log line with this message, once there is one. */
  logged(msg: string): Promise<Record<string, unknown>>;
  /** The newest line of the audit stream that is wanted, once there is one. */
  audited(what: string, wanted: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** The log line of a request, once it has been written. */
  logLine(correlationId: string): Promise<Record<string, unknown>>;
}

export type CredentialChoice = "workload-identity" | "certificate";

export interface GatewayProcessOptions {
  readonly credential: CredentialChoice;
  /** Arguments of node. Default: the sources, as they are. */
  readonly entry?: readonly string[];
  /** Added to the environment, or overriding it. */
  readonly env?: Readonly<Record<string, string>>;
}

const FROM_SOURCE = ["--import", "tsx", "src/main.ts"];

export async function startEmulatorProcess(): Promise<EmulatorProcess> {
  const ports = ["authority", "graph", "kubernetes", "control"].flatMap((name) => [`--${name}-port`, "0"]);
  const child = start(
    ["--import", "tsx", "test/emulator/main.ts", "--json", "--exit-with-parent", ...ports],
    keysOfChild(),
  );
  const facts = (await firstOf(linesOf(child), "anything", () => true, child)) as unknown as EmulatorFacts;
  return { facts, stop: () => stop(child), kill: () => kill(child) };
}

export async function startGatewayProcess(
  facts: EmulatorFacts,
  { credential, entry = FROM_SOURCE, env = {} }: GatewayProcessOptions,
): Promise<GatewayProcess> {
  const began = performance.now();
  const child = start(entry, {
    GATEWAY_CONFIG: "config/demo.yaml",
    PORT: "0",
    ADMIN_PORT: "0",
    ...environmentFor(facts, credential),
    ...env,
  });
  const lines = linesOf(child);
  const listening = await firstOf(lines, '"listening"', ({ msg }) => msg === "listening", child);
  await firstOf(lines, '"ready"', ({ msg }) => msg === "ready", child);
  const adminUrl = `http://127.0.0.1:${listening.adminPort}`;
  const ready = await fetch(`${adminUrl}/readyz`);
  if (ready.status !== 200) throw new Error(`/readyz answered ${ready.status}: ${await ready.text()}`);
  return {
    url: `http://127.0.0.1:${listening.port}`,
    adminUrl,
    readyAfterMs: performance.now() - began,
    logLine: (correlationId) =>
      firstOf(
        lines,
        `the request with correlationId ${correlationId}`,
        (line) => line.msg === "request" && line.correlationId === correlationId,
        child,
      ),
    signal: (name) => void child.kill(name),
    exited: new Promise((resolve) => child.once("exit", resolve)),
    audited: (what, wanted) => firstOf(lines, what, (line) => line.stream === "audit" && wanted(line), child),
    logged: (msg) => firstOf(lines, `"${msg}"`, (line) => line.msg === msg, child),
    stop: () => stop(child),
    kill: () => kill(child),
  };
}

/** What points a gateway at an emulator. */
export function environmentFor(facts: EmulatorFacts, credential: CredentialChoice): Record<string, string> {
  return {
    AZURE_TENANT_ID: facts.tenantId,
    AZURE_CLIENT_ID: facts.clientId,
    AZURE_AUTHORITY_HOST: facts.authorityHost,
    NODE_EXTRA_CA_CERTS: facts.caFile,
    GRAPH_URL: facts.graphUrl,
    ...(credential === "certificate"
      ? { AZURE_CLIENT_CERTIFICATE_PATH: facts.clientCertificateFile }
      : { AZURE_FEDERATED_TOKEN_FILE: facts.federatedTokenFile }),
  };
}

export interface EndedProcess {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the gateway until it ends by itself. */
export function runGateway(env: Readonly<Record<string, string>>): Promise<EndedProcess> {
  return runToEnd(FROM_SOURCE, env);
}

export function runDoctor(
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): Promise<EndedProcess> {
  return runToEnd(["--import", "tsx", "src/doctor/main.ts", ...args], env);
}

async function runToEnd(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<EndedProcess> {
  const child = spawn(process.execPath, args, { cwd: root, env: cleanEnvironment(env) });
  const limit = setTimeout(() => child.kill("SIGKILL"), START_LIMIT_MS);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(limit);
  return { code, stdout, stderr };
}

/** Nothing of this shell's own Azure settings may reach a child. */
function cleanEnvironment(env: Readonly<Record<string, string>>): Record<string, string> {
  const { PATH = "", HOME = "", TMPDIR } = process.env;
  return { PATH, HOME, ...(TMPDIR !== undefined && { TMPDIR }), ...env };
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: cleanEnvironment(env),
    // The emulator ends when its standard input does, however this process ends.
    stdio: ["pipe", "pipe", "inherit"],
    // A group of its own: Ctrl-C in a terminal is for the parent, which then stops its children in order.
    detached: true,
  });
  process.once("exit", () => child.kill("SIGKILL"));
  return child;
}

interface Lines {
  readonly seen: Record<string, unknown>[];
  readonly listeners: Set<() => void>;
}

/** Log lines, newest last; bounded, for a demo may stay up for days. */
function linesOf(child: Child): Lines {
  const lines: Lines = { seen: [], listeners: new Set() };
  createInterface({ input: child.stdout }).on("line", (text) => {
    try {
      lines.seen.push(JSON.parse(text));
    } catch {
      console.log(text);
      return;
    }
    if (lines.seen.length > 5_000) lines.seen.splice(0, 2_500);
    for (const listener of lines.listeners) listener();
  });
  return lines;
}

/** Rejects with the last lines that came instead, since these say why. */
function firstOf(
  lines: Lines,
  what: string,
  wanted: (line: Record<string, unknown>) => boolean,
  child: Child,
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const settle = (settled: () => void) => {
      clearTimeout(limit);
      lines.listeners.delete(look);
      child.off("exit", died);
      settled();
    };
    const look = () => {
      const line = lines.seen.findLast(wanted);
      if (line !== undefined) settle(() => resolve(line));
    };
    const missing = (why: string) => {
      const last = lines.seen.slice(-20).map((line) => JSON.stringify(line));
      return new Error(`${why} before it logged ${what}; its last lines are:\n${last.join("\n")}`);
    };
    const died = (code: number | null) =>
      settle(() => reject(missing(`the process ended with code ${code}`)));
    const limit = setTimeout(
      () => settle(() => reject(missing(`${START_LIMIT_MS / 1000} s have passed`))),
      START_LIMIT_MS,
    );
    lines.listeners.add(look);
    child.once("exit", died);
    look();
  });
}

async function stop(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const limit = setTimeout(() => child.kill("SIGKILL"), 15_000);
  const code = await exited;
  clearTimeout(limit);
  if (code !== 0) throw new Error(`the process ended with code ${code} instead of 0`);
}

async function kill(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
}
