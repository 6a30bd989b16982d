/** What a call is refused with, for tests of functions that answer at once. */

import { GatewayError, type GatewayErrorCode } from "../../src/errors.ts";

/** Code and reason of the refusal; undefined where the call goes through. Any other error is thrown on. */
export function refusal(
  act: () => unknown,
): { readonly code: GatewayErrorCode; readonly reason: string | undefined } | undefined {
  try {
    act();
  } catch (error) {
    if (error instanceof GatewayError) return { code: error.code, reason: error.reason };
    throw error;
  }
  return undefined;
}
