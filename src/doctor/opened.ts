/** Credential sources, opened as the gateway opens them. */

import { readFile } from "node:fs/promises";
import type { CredentialEvent, CredentialRing, CredentialSource } from "../credential/contract.ts";
import { ConfigurationError } from "../errors.ts";
import { openGatewayCredential } from "../gateway.ts";
import type { Examination } from "./examination.ts";

/** What was opened as the gateway opens it, or what keeps it shut. */
export type Opened =
  | { readonly ring: CredentialRing; readonly events: readonly CredentialEvent[] }
  | { readonly error: ConfigurationError };

/** All sources, as the gateway would have them, or one alone. */
export async function open(examination: Examination, source?: CredentialSource): Promise<Opened> {
  const { config, fetch, directFetch, now, authority } = examination;
  const { credential } = config;
  const events: CredentialEvent[] = [];
  try {
    const ring = await openGatewayCredential({
      config: source === undefined ? config : { ...config, credential: { ...credential, sources: [source] } },
      fetch,
      directFetch,
      now,
      authority,
      // Made by a program that embeds the gateway, which this is not.
      clientAssertion: undefined,
      proveWith: async () => ({ verdict: "undecided", problem: "the doctor asks by itself" }),
      onEvent: (event) => void events.push(event),
    });
    return { ring, events };
  } catch (error) {
    if (error instanceof ConfigurationError) return { error };
    throw error;
  }
}

/** Every fault in one sentence; ConfigurationError's text never quotes a secret. */
export function sentence({ faults }: ConfigurationError): string {
  return faults.map(({ path, problem }) => `${path}: ${problem}`).join("; ");
}

/** A file that the gateway could open; undefined when it vanished since. */
export const contentOf = (path: string): Promise<Buffer | undefined> => readFile(path).catch(() => undefined);
