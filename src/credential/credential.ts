/** Opens the gateway's client credential: every chosen source, checked before the gateway listens. */

import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import type { Canary, CredentialOptions, CredentialRing } from "./contract.ts";
import { createCredentialRing } from "./ring.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";
import { type ChosenOpener, chooseSources } from "./sources.ts";

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
  const { opened, faults: openingFaults } = await openAll(openers, ports);
  const faults = [...choiceFaults, ...openingFaults];
  const [first, ...others] = opened;
  if (faults.length > 0 || first === undefined) throw new ConfigurationError(faults);
  for (const { source, problem } of absent)
    ports.emit({ type: "absent", source, generation: 0, message: `${problem}; it is not used` });
  return createCredentialRing([first, ...others], ports);
}

/**
 * The faults of the choice of sources, and of the files and variables that they read on this machine. No platform is
 * asked, so that a start that ends with other faults anyway can report these beside them.
 */
export async function findCredentialFaults(
  options: Omit<CredentialOptions, "federationAudience">,
): Promise<readonly ConfigurationFault[]> {
  const { openers, faults } = chooseSources({
    ...options,
    // Doubts about a token's audience are events, and no faults.
    federationAudience: "",
    // Sources that need these count as set up: their settings are there, and none of them is opened here.
    canary: NOT_ASKED,
    managedIdentityToken: options.managedIdentityClientId ? () => Promise.reject(NOT_USED) : undefined,
  });
  const local = openers.filter(({ asksNetwork }) => !asksNetwork);
  const { faults: openingFaults } = await openAll(local, { now: options.now ?? Date.now, emit: () => {} });
  return [...faults, ...openingFaults];
}

const NOT_USED = new TypeError("no source that asks for a token is opened here");
const NOT_ASKED: Canary = {
  request: { clientId: "", tokenEndpoint: "" },
  proveWith: () => Promise.reject(NOT_USED),
};

async function openAll(
  openers: readonly ChosenOpener[],
  ports: SourcePorts,
): Promise<{ readonly opened: SourceCredential[]; readonly faults: ConfigurationFault[] }> {
  const opened: SourceCredential[] = [];
  const faults: ConfigurationFault[] = [];
  const loaded: Awaited<ReturnType<ChosenOpener["load"]>>[] = [];
  for (const { load } of openers) loaded.push(await load());
  for (const outcome of await Promise.allSettled(loaded.map((open) => open(ports)))) {
    if (outcome.status === "fulfilled") opened.push(outcome.value);
    else if (outcome.reason instanceof ConfigurationError) faults.push(...outcome.reason.faults);
    else throw outcome.reason;
  }
  return { opened, faults };
}
