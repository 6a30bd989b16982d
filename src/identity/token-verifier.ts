/** The port of this room: an Authorization header goes in, a verified caller or the reason why not comes out. */

import type { GatewayError } from "../errors.ts";
import type { VerifiedCaller } from "./principal.ts";

/** Three outcomes that must never be confused: theirs to mend, ours to retry, granted. */
export type Verification =
  | { readonly outcome: "verified"; readonly caller: VerifiedCaller }
  | { readonly outcome: "rejected"; readonly error: GatewayError<"token_missing" | "token_rejected"> }
  | { readonly outcome: "unavailable"; readonly error: GatewayError<"key_set_unavailable"> };

export interface TokenVerifier {
  /**
   * Judges the values of a request's `Authorization` header fields (RFC 6750 §2.1: none is `token_missing`, more
   * than one is `token_rejected`). Sees nothing else of the request, so a token in a body or query is invisible.
   * Never rejects: whatever the token or the authority does ends in one of the three outcomes.
   */
  verify(authorization: readonly string[]): Promise<Verification>;
  /** Whether signing keys are at hand, so that a genuine token would be verified right now. */
  ready(): boolean;
  /** Fetches keys until there are some; resolves when `ready()` would be true. */
  warmUp(signal?: AbortSignal): Promise<void>;
  /** Stops background refresh. */
  close(): void;
}
