/** What `/readyz` goes by. */

import type { CredentialRing } from "../credential/contract.ts";
import type { TokenVerifier } from "../identity/contract.ts";
import type { ReadinessCheck } from "./admin.ts";

export interface ReadinessSources {
  /** False from the moment the gateway is asked to stop, so that balancers turn away. */
  readonly inRotation: () => boolean;
  readonly verifier: Pick<TokenVerifier, "ready">;
  readonly credential: Pick<CredentialRing, "status">;
  /** Where the audit stream goes. */
  readonly outputs: { auditIsAtRisk(): boolean };
}

export function readinessChecks({
  inRotation,
  verifier,
  credential,
  outputs,
}: ReadinessSources): ReadinessCheck[] {
  const { usable, serving, sources } = credential.status();
  return [
    { name: "rotation", ready: inRotation() },
    { name: "signing-keys", ready: verifier.ready() },
    { name: "credential", ready: usable, detail: { serving, sources } },
    { name: "audit", ready: !outputs.auditIsAtRisk() },
  ];
}
