/** Opens the gateway's client credential: every chosen source, checked before the gateway listens. */

import { ConfigurationError } from "../errors.ts";
import type { CredentialOptions, CredentialRing } from "./contract.ts";
import { createCredentialRing } from "./ring.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";
import { chooseSources } from "./sources.ts";

/**
 * Opens every chosen source, and so proves each one before the gateway listens: files are read, parsed and
 * checked here, then watched while they serve.
 *
 * @throws {ConfigurationError} with the faults of all sources, each naming its environment variable and what to do.
 */
export async function openCredential(options: CredentialOptions): Promise<CredentialRing> {
  const { now = Date.now, onEvent: emit = () => {}, canary } = options;
  const ports: SourcePorts = { now, emit, canary };
  const { openers, absent, faults: choiceFaults } = chooseSources(options);
  const faults = [...choiceFaults];
  const opened: SourceCredential[] = [];
  for (const outcome of await Promise.allSettled(openers.map((open) => open(ports)))) {
    if (outcome.status === "fulfilled") opened.push(outcome.value);
    else if (outcome.reason instanceof ConfigurationError) faults.push(...outcome.reason.faults);
    else throw outcome.reason;
  }
  const [first, ...others] = opened;
  if (faults.length > 0 || first === undefined) throw new ConfigurationError(faults);
  for (const { source, problem } of absent)
    ports.emit({ type: "absent", source, generation: 0, message: `${problem}; it is not used` });
  return createCredentialRing([first, ...others], ports);
}
