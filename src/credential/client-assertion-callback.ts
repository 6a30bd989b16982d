/** Client assertions from the program that embeds the gateway: its callback is asked for each proof. */

import { GatewayError } from "../errors.ts";
import type { AuthenticationRequest, ClientAssertionCallback, SourceStatus } from "./contract.ts";
import { readFederatedToken } from "./federated-token.ts";
import type { Proof, SourceCredential, SourcePorts } from "./source.ts";

/**
 * Nothing is kept: what may be reused, and for how long, only the callback knows. It is one generation for ever,
 * since two assertions that differ need not differ in what Entra thinks of them.
 */
export async function openClientAssertionCallback(
  { callback, timeoutMs }: { readonly callback: ClientAssertionCallback; readonly timeoutMs: number },
  { now }: SourcePorts,
): Promise<SourceCredential> {
  let failed:
    | { readonly request: AuthenticationRequest; readonly fault: NonNullable<SourceStatus["fault"]> }
    | undefined;

  async function prove(request: AuthenticationRequest): Promise<Proof> {
    const signal = AbortSignal.timeout(timeoutMs);
    let problem: string;
    let cause: unknown;
    try {
      const token = readFederatedToken(
        await Promise.race([callback({ ...request, signal }), expiry(signal)]),
      );
      if (!("problem" in token) && token.expiresAt > now()) {
        failed = undefined;
        const { clientAssertion } = token;
        return { authentication: { method: "client_assertion", clientAssertion }, generation: 1 };
      }
      problem = `what the callback gave ${"problem" in token ? token.problem : "has ended already"}`;
    } catch (failure) {
      problem = signal.aborted ? `the callback gave nothing within ${timeoutMs} ms` : "the callback failed";
      cause = failure;
    }
    failed = { request, fault: { since: failed?.fault.since ?? now(), problem } };
    throw new GatewayError("credential_unavailable", {
      detail: "The gateway has no valid credential for Microsoft Entra at the moment.",
      reason: "callback_failed",
      diagnostics: { source: "client-assertion", problem },
      cause,
    });
  }

  return {
    source: "client-assertion",
    prove,
    async look() {
      // Only to find out whether a failure is over; `status()` reports the outcome.
      if (failed !== undefined) await prove(failed.request).catch(() => {});
    },
    status: () => ({
      source: "client-assertion",
      generation: 1,
      ...(failed === undefined ? { state: "usable" } : { state: "unusable", fault: failed.fault }),
    }),
  };
}

function expiry(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
