/** Whether the gateway may be sent requests, and why not: what `/readyz` and the probe of the public port go by. */

import type { CredentialRing } from "../credential/contract.ts";
import type { TokenVerifier } from "../identity/contract.ts";
import type { ReadinessCheck } from "./admin.ts";

export interface ReadinessSources {
  readonly verifier: Pick<TokenVerifier, "ready">;
  readonly credential: Pick<CredentialRing, "status">;
  /** See `TokenExchange.clockDriftMs`. */
  readonly clockDriftMs: () => number | undefined;
  /** Where the audit stream goes. */
  readonly outputs: { auditIsAtRisk(): boolean };
}

export interface Readiness {
  checks(): readonly ReadinessCheck[];
  isReady(): boolean;
  /** From now on not ready, so that balancers turn away before the end. */
  leaveRotation(): void;
}

export function createReadiness({
  verifier,
  credential,
  clockDriftMs,
  outputs,
}: ReadinessSources): Readiness {
  let inRotation = true;
  const checks = (): readonly ReadinessCheck[] => {
    const { usable, accepted, firstTrial, serving, sources } = credential.status();
    const driftMs = clockDriftMs();
    return [
      { name: "rotation", ready: inRotation },
      { name: "signing-keys", ready: verifier.ready() },
      {
        name: "credential",
        ready: usable && accepted,
        detail: { serving, sources, ...(firstTrial.state !== "accepted" && { firstTrial }) },
      },
      // A clock that is off is a fault of the host, on which every replica may be: not a reason to serve no caller.
      { name: "clock", ready: true, detail: driftMs === undefined ? {} : { driftMs } },
      { name: "audit", ready: !outputs.auditIsAtRisk() },
    ];
  };
  return {
    checks,
    isReady: () => checks().every(({ ready }) => ready),
    leaveRotation() {
      inRotation = false;
    },
  };
}
