/** A real on-behalf-of exchange of the given user's token, for one API: the whole chain of a request. */

import { randomUUID } from "node:crypto";
import type { DownstreamApiOptions } from "../downstream/contract.ts";
import { ACTOR_OF, GatewayError } from "../errors.ts";
import { createTokenExchange } from "../exchange/exchange.ts";
import type { Verification } from "../identity/contract.ts";
import { explain } from "./aadsts.ts";
import type { Examination } from "./examination.ts";
import { identityIn } from "./federated-token.ts";
import { silenceOfError } from "./network.ts";
import { open } from "./opened.ts";
import { resourceOf } from "./token-request.ts";
import { fault, ok, skipped, type Verdict, warning } from "./verdict.ts";

export async function checkExchange(
  api: DownstreamApiOptions,
  verification: Verification | undefined,
  examination: Examination,
): Promise<Verdict> {
  const { config, authority, registration, fetch, now } = examination;
  if (verification?.outcome !== "verified") return skipped("needs a user's token that the gateway accepts");
  const opened = await open(examination);
  if ("error" in opened) return skipped("needs a usable credential");
  const { clientId, tenantId, regionalAuthority } = config.application;
  const { exchange } = createTokenExchange({
    clientId,
    authorityHost: `${authority.origin}/`,
    tokenEndpoint: authority.tokenEndpoint,
    authorizeEndpoint: authority.authorizeEndpoint,
    homeTenantId: tenantId,
    allowedTenants: "*",
    credential: opened.ring,
    fetch,
    timeoutMs: config.exchange.timeoutMs,
    cache: { maxEntries: 1, maxBytes: 65_536, expiryMarginMs: 0 },
    refusalMemoryMs: 0,
    budget: { total: 1, userShare: 1, clientShare: 1 },
    ...(regionalAuthority !== undefined && { regionalAuthority }),
    now,
  });
  try {
    const { assertion } = verification.caller;
    await exchange({ assertion, scopes: api.scopes, correlationId: randomUUID() });
    return ok("Entra exchanges the user's token");
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    const identity = await identityIn(config.credential.federatedTokenFile);
    return explainRefusal(error, {
      registration,
      resource: resourceOf(api.scopes[0] ?? ""),
      identity: opened.ring.source === "workload-identity" ? identity : undefined,
    });
  }
}

function explainRefusal(error: GatewayError, situation: Parameters<typeof explain>[1]): Verdict {
  const { error_codes: numbers, ...diagnostics } = error.diagnostics ?? {};
  const codes = Array.isArray(numbers) ? numbers : [];
  const explained = explain(codes, situation);
  const facts = {
    code: error.code,
    ...(diagnostics as Record<string, string | number>),
    ...(error.consentUri !== undefined && { consentUri: error.consentUri }),
  };
  const code = codes[0] === undefined ? error.code : `AADSTS${codes[0]}`;
  const silence = silenceOfError(error);
  const finding = `the exchange is refused (${code}): ${explained?.meaning ?? error.detail}`;
  const fix = explained?.fix ?? silence.fix;
  const rest = { facts, commands: explained?.commands ?? [] };
  // Where the user or the authority must act, the gateway itself would work.
  const theirs = ["claims_challenged", "interaction_required", "blocked_by_policy"].includes(error.code);
  return theirs || ACTOR_OF[error.code] === "authority"
    ? warning(finding, fix, rest)
    : fault(finding, fix, rest);
}
