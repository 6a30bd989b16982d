/** Several credentials in the operator's order, acting as one: when the first cannot prove us, the next one does. */

import { GatewayError } from "../errors.ts";
import type {
  AuthenticationRequest,
  ClientAuthentication,
  CredentialEventType,
  CredentialRing,
  SourceStatus,
} from "./contract.ts";
import { createFirstTrial } from "./first-trial.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

/** How long a source that Entra refused is left alone, unless it changes first. */
const REST_MS = 5 * 60_000;
/** After that, how long one request's luck with it is awaited before the others follow. */
const TRIAL_MS = 30_000;

interface Member {
  readonly credential: SourceCredential;
  /** Set since Entra refused this generation of it. */
  rest: { readonly generation: number; readonly until: number; readonly onTrial: boolean } | undefined;
  /** Whether it had nothing to offer when it was last asked, so that one spell of that gives one event. */
  unusable: boolean;
}

/**
 * Asks the sources in order. One that has nothing to offer is passed over and asked again next time, for the
 * price of a look at a file. One that Entra refused rests, since asking again costs a refused request; it is
 * asked last, and first again when its source changes or when a single request has tried it after the rest.
 */
export function createCredentialRing(
  credentials: readonly [SourceCredential, ...SourceCredential[]],
  { now, emit, canary }: SourcePorts,
): CredentialRing {
  const members = credentials.map((credential): Member => ({ credential, rest: undefined, unusable: false }));
  let serving = credentials[0];
  // Where a proof came from. Weak, so that an entry lives exactly as long as the request that holds the proof.
  const issued = new WeakMap<
    ClientAuthentication,
    { readonly member: Member; readonly generation: number }
  >();

  function isResting({ rest, credential }: Member): boolean {
    return rest !== undefined && rest.generation === credential.status().generation && now() < rest.until;
  }

  /** Lets a rested member back in: for one request first, for all when that one brought no new refusal. Says whether for all. */
  function wake(member: Member): boolean {
    const { rest, credential } = member;
    const trial = rest !== undefined && !rest.onTrial && rest.generation === credential.status().generation;
    member.rest = trial ? { generation: rest.generation, until: now() + TRIAL_MS, onTrial: true } : undefined;
    return !trial;
  }

  function tell(type: CredentialEventType, { source, status }: SourceCredential, message: string): void {
    emit({ type, source, generation: status().generation, message });
  }

  async function ask(member: Member, request: AuthenticationRequest): Promise<ClientAuthentication> {
    const { credential } = member;
    const isTrusted = !isResting(member) && wake(member);
    const { authentication, generation } = await credential.prove(request);
    issued.set(authentication, { member, generation });
    member.unusable = false;
    if (isTrusted && serving !== credential) {
      serving = credential;
      tell("switched", credential, `${credential.source} serves now`);
    }
    return authentication;
  }

  function statusOf(member: Member): SourceStatus {
    const status = member.credential.status();
    return isResting(member) && status.state === "usable" ? { ...status, state: "refused" } : status;
  }

  const ring = {
    get source() {
      return serving.source;
    },

    async authenticate(request: AuthenticationRequest): Promise<ClientAuthentication> {
      const failures: GatewayError[] = [];
      const resting = members.filter(isResting);
      for (const member of [...members.filter((one) => !resting.includes(one)), ...resting]) {
        try {
          return await ask(member, request);
        } catch (cause) {
          if (!(cause instanceof GatewayError) || cause.code !== "credential_unavailable") throw cause;
          failures.push(cause);
          if (!member.unusable) tell("unusable", member.credential, problemOf(cause));
          member.unusable = true;
        }
      }
      throw unavailable(failures);
    },

    async refused(authentication: ClientAuthentication): Promise<boolean> {
      const proof = issued.get(authentication);
      if (proof === undefined) return false;
      const { member, generation } = proof;
      const { credential } = member;
      // Somebody else's refusal may have led to a new reading already; then there is no need for another.
      if (credential.status().generation === generation) await credential.look(true);
      if (credential.status().generation !== generation) return true;
      if (member.rest?.generation !== generation) {
        tell("refused", credential, `Entra refused ${credential.source}, and its source has nothing newer`);
      }
      member.rest = { generation, until: now() + REST_MS, onTrial: false };
      return members.some((one) => !isResting(one) && one.credential.status().state === "usable");
    },

    originOf(authentication: ClientAuthentication) {
      const proof = issued.get(authentication);
      return proof && { source: proof.member.credential.source, generation: proof.generation };
    },

    status() {
      const sources = members.map(statusOf);
      const usable = sources.some(({ state }) => state !== "unusable");
      return { serving: serving.source, usable, ...firstTrial.status(), sources };
    },

    async refresh() {
      await Promise.all(members.map(({ credential }) => credential.look(false)));
    },

    warmUp: (signal?: AbortSignal) => firstTrial.run(signal),
  };
  const firstTrial = createFirstTrial({
    canary,
    credential: ring,
    emit: (type, message) => tell(type, serving, message),
  });
  return ring;
}

function problemOf({ diagnostics, message }: GatewayError): string {
  return String(diagnostics?.problem ?? message);
}

function unavailable(failures: readonly GatewayError[]): GatewayError {
  const [only, ...others] = failures;
  if (only !== undefined && others.length === 0) return only;
  return new GatewayError("credential_unavailable", {
    detail: "The gateway has no valid credential for Microsoft Entra at the moment.",
    reason: "every_source_unusable",
    diagnostics: { problem: failures.map(problemOf).join("; ") },
    cause: new AggregateError(failures),
  });
}
