/** Whether Entra accepts a proof of the gateway, asked with a token request whose answer nobody uses. */

import { randomUUID } from "node:crypto";
import type { ClientAuthentication, TrialVerdict } from "../../credential/contract.ts";
import type { GatewayError } from "../../errors.ts";
import { noAssertion } from "../no-assertion.ts";
import { createConsentUris } from "./consent.ts";
import { createJudge } from "./judge.ts";
import { createMsalWire, type SendGrant, type WireOptions } from "./msal.ts";

export interface CredentialCheckOptions extends WireOptions {
  /** Tenant of the gateway's own registration, where its credentials are registered. */
  readonly homeTenantId: string;
  /** Milliseconds for the request and its answer. */
  readonly timeoutMs: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * Never rejects. The token asked for is one for the gateway itself (`<client id>/.default`): it exists in every
 * cloud, needs no permission and opens nothing. A refusal that does not concern the credential proves neither that
 * it is accepted nor that it is not.
 */
export function createCredentialCheck(
  options: CredentialCheckOptions,
  send: SendGrant = createMsalWire(options),
): (authentication: ClientAuthentication) => Promise<TrialVerdict> {
  const { clientId, homeTenantId, timeoutMs, now = Date.now } = options;
  const judge = createJudge({ homeTenantId, ...createConsentUris(options), now });
  const assertion = noAssertion(homeTenantId, clientId);
  const scopes = [`${clientId}/.default`];

  return async (authentication) => {
    try {
      const judgement = await send({
        assertion,
        scopes,
        correlationId: randomUUID(),
        authentication,
        timeoutMs,
      }).then((answer) => judge.answer({ assertion, scopes, authentication }, answer), judge.failure);
      if (judgement.outcome === "granted") return { verdict: "accepted" };
      const { error, domain } = judgement.refusal;
      const numbers = error.diagnostics?.error_codes;
      const told = Array.isArray(numbers) ? ` (AADSTS${numbers.join(", ")})` : "";
      return {
        // A client or tenant that Entra does not know is as definite as a proof that it does not accept.
        verdict: domain === "credential" || isDefinite(error) ? "refused" : "undecided",
        problem: `${error.code}: ${error.reason}${told}`,
      };
    } catch {
      // MSAL would not phrase the request. Nothing of the cause is told: it may quote the proof.
      return { verdict: "undecided", problem: "the token request could not be formed" };
    }
  };
}

/** Error codes of Entra that are not known, and that name no number, may mean anything. */
function isDefinite({ code, reason }: GatewayError): boolean {
  return code === "client_rejected" && reason !== "unrecognised" && reason !== "invalid_request";
}
