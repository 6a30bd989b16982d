/**
 * RSA keys that are made when they are asked for. Finding the primes of one costs a second of a slow machine, so in a run
 * of the tests each file takes the same sequence of keys from a directory that the run made and removes; within a process
 * no key comes twice. Without such a directory every key is new.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

/** Names the directory of the run's keys. */
export const RSA_KEYS_DIRECTORY = "TEST_RSA_KEYS_DIRECTORY";

export interface RsaKeyOptions {
  /** Default 2048. */
  readonly modulusLength?: number;
  /** Default 65537. */
  readonly publicExponent?: number;
}

export interface RsaPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const taken = new Map<string, number>();

export function generateRsaPairSync(options: RsaKeyOptions = {}): RsaPair {
  const shape = shapeOf(options);
  return keyOfRun(nameOf(shape), () => generateKeyPairSync("rsa", shape).privateKey);
}

/** As above, on another thread where the key has to be made. */
export async function generateRsaPair(options: RsaKeyOptions = {}): Promise<RsaPair> {
  const shape = shapeOf(options);
  const file = nextFile(nameOf(shape));
  const kept = file && read(file);
  if (kept) return pairOf(kept);
  const { privateKey } = await promisify(generateKeyPair)("rsa", shape);
  if (file) write(file, privateKey);
  return pairOf(privateKey);
}

let children = 0;

/** Environment of a child process that takes keys of the same run, and others than this process and its other children. */
export function keysOfChild(): Record<string, string> {
  const directory = process.env[RSA_KEYS_DIRECTORY];
  if (directory === undefined) return {};
  children += 1;
  const own = join(directory, `child-${children}`);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  return { [RSA_KEYS_DIRECTORY]: own };
}

/** The next key of the run under this name, or a new one: for kinds that `node:crypto` does not make. */
export function keyOfRun(name: string, generate: () => KeyObject): RsaPair {
  const file = nextFile(name);
  const kept = file && read(file);
  if (kept) return pairOf(kept);
  const made = generate();
  if (file) write(file, made);
  return pairOf(made);
}

function nextFile(name: string): string | undefined {
  const directory = process.env[RSA_KEYS_DIRECTORY];
  if (directory === undefined) return undefined;
  const number = (taken.get(name) ?? 0) + 1;
  taken.set(name, number);
  return join(directory, `${name}-${number}.pem`);
}

function read(file: string): KeyObject | undefined {
  try {
    return createPrivateKey(readFileSync(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Two workers may make the same file at once: each puts a whole one in place. */
function write(file: string, key: KeyObject): void {
  const unfinished = `${file}.${process.pid}`;
  writeFileSync(unfinished, key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  renameSync(unfinished, file);
}

function pairOf(privateKey: KeyObject): RsaPair {
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

function shapeOf({ modulusLength = 2048, publicExponent = 65_537 }: RsaKeyOptions) {
  return { modulusLength, publicExponent };
}

function nameOf({ modulusLength, publicExponent }: ReturnType<typeof shapeOf>): string {
  return `rsa-${modulusLength}-${publicExponent}`;
}
