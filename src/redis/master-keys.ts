/** The master keys of the shared tier: how they are written, and the file that holds them and is replaced to change them. */

import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { readRegularFile, versionOfFile } from "../foundation/regular-file.ts";
import { Secret } from "../foundation/secret.ts";
import { decodeText } from "../foundation/text.ts";
import type { RedisEvent } from "./contract.ts";

/** The first one seals, all open. */
export type MasterKeys = readonly [Secret, ...Secret[]];

const KEY_OF_32_BYTES = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const MOST_KEYS = 8;

/** What is wrong with a text that `parseMasterKeys` does not take; quotes nothing of it. */
export const KEYS_PROBLEM =
  "must be at most 8 keys of 32 bytes in base64, separated by commas; make one with: openssl rand -base64 32";

/** Reads keys that commas, blanks or line breaks separate; undefined for anything else. */
export function parseMasterKeys(text: string): MasterKeys | undefined {
  const [first, ...others] = text.trim().split(/\s*,\s*|\s+/);
  if (first === undefined || others.length >= MOST_KEYS) return undefined;
  if (![first, ...others].every((key) => KEY_OF_32_BYTES.test(key))) return undefined;
  return [new Secret(first), ...others.map((key) => new Secret(key))];
}

const SETTING = "TOKEN_CACHE_KEYS_FILE";
/** Eight keys take 360 bytes, in UTF-16 twice as many. */
const MAX_FILE_BYTES = 4_096;
/** How often the file is looked at, ms. The kubelet and the Key Vault driver need minutes to bring a new content. */
const LOOK_MS = 10_000;

interface ReadKeys {
  readonly keys: MasterKeys;
  readonly version: string;
}

/** @throws {ConfigurationError} when the file cannot be read or holds something else; the text never quotes it. */
export async function readKeyFile(path: string): Promise<ReadKeys> {
  const { content, version } = await readRegularFile({ path, setting: SETTING, maxBytes: MAX_FILE_BYTES });
  const keys = parseMasterKeys(decodeText(content));
  if (keys === undefined)
    throw new ConfigurationError([
      { path: SETTING, problem: `names ${path}, whose content ${KEYS_PROBLEM}` },
    ]);
  return { keys, version };
}

/** What keeps the keys of this file from being used. */
export async function findKeyFileFaults(path: string): Promise<readonly ConfigurationFault[]> {
  try {
    await readKeyFile(path);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults;
  }
}

export interface KeyFile {
  /** Those of the last content that could be used: the same list until there is another one. */
  keys(): MasterKeys;
  /** Takes up a new content now. Never rejects. */
  look(): Promise<void>;
  close(): void;
}

/**
 * Opens the file and looks at it every ten seconds. A new content that cannot be used is reported once, and the keys
 * before it stay: with none, every replica would ask Entra for every token again.
 *
 * @throws {ConfigurationError} when the file is not usable right now.
 */
export async function openKeyFile(path: string, onEvent: (event: RedisEvent) => void): Promise<KeyFile> {
  let current = await readKeyFile(path);
  let reported: string | undefined;

  async function look(): Promise<void> {
    try {
      const version = await versionOfFile({ path, setting: SETTING, maxBytes: MAX_FILE_BYTES });
      if (version === current.version && reported === undefined) return;
      const { keys, ...read } = await readKeyFile(path);
      // A file that was only touched changes nothing.
      const isChanged = fingerprintsOf(keys) !== fingerprintsOf(current.keys);
      current = { ...read, keys: isChanged ? keys : current.keys };
      if (isChanged || reported !== undefined) onEvent({ type: "shared_keys_taken", keys: keys.length });
      reported = undefined;
    } catch (error) {
      // Any other error is a defect; it must not end the process, and its message may quote the file.
      const problem =
        error instanceof ConfigurationError
          ? error.faults.map((fault) => `${fault.path}: ${fault.problem}`).join("; ")
          : `${SETTING}: ${path} could not be looked at`;
      if (problem !== reported) onEvent({ type: "shared_keys_kept", problem });
      reported = problem;
    }
  }

  let looking: Promise<void> | undefined;
  const lookOnce = () => {
    looking ??= look().finally(() => {
      looking = undefined;
    });
    return looking;
  };
  const timer = setInterval(() => void lookOnce(), LOOK_MS).unref();
  return { keys: () => current.keys, look: lookOnce, close: () => clearInterval(timer) };
}

function fingerprintsOf(keys: MasterKeys): string {
  return keys.map((key) => key.fingerprint()).join();
}
