/** A federated token that an issuer gives on request: kept while it is good, renewed before it ends. */

import { ConfigurationError } from "../errors.ts";
import type { CredentialSource } from "./contract.ts";
import { type FederatedToken, readFederatedToken } from "./federated-token.ts";
import { openReloadingValue } from "./reloading-value.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

/** A token request that is under way has to arrive before the token ends. */
const MARGIN_MS = 10_000;
/** Shortest time between two requests to an issuer that gave nothing. */
const RETRY_MS = 5_000;
/** Another token of an issuer that gave one this recently would be refused for the same reason. */
const YOUNG_MS = 60_000;

export interface TokenIssuer {
  readonly source: CredentialSource;
  /** Setting that leads to the issuer, for messages. */
  readonly setting: string;
  /** The issuer's name, for messages. */
  readonly origin: string;
  /** A token with less than this left is renewed, ms. */
  readonly renewMs: number;
  /** Whether a token that is still good serves while it is renewed, instead of having proofs wait for the new one. */
  readonly inBackground: boolean;
  /** Asks for a token. Rejects with ConfigurationError, whose text never quotes a secret. */
  readonly obtain: () => Promise<string>;
}

/** @throws {ConfigurationError} when the issuer gives no token now. */
export async function openIssuedToken(issuer: TokenIssuer, ports: SourcePorts): Promise<SourceCredential> {
  const { source, origin, renewMs, inBackground } = issuer;
  let last: string | undefined;
  const value = await openReloadingValue(
    {
      source,
      origin,
      marginMs: MARGIN_MS,
      inBackground,
      isDue: ({ force, at, previousAt, expiresAt }) => {
        const sinceLast = at < previousAt ? Number.POSITIVE_INFINITY : at - previousAt;
        return force ? sinceLast >= YOUNG_MS : expiresAt - at < renewMs && sinceLast >= RETRY_MS;
      },
      async load() {
        const text = await issuer.obtain();
        // An issuer with a cache of its own gives the same token again for a while.
        if (text === last) return undefined;
        const token = parseToken(text, issuer, ports.now());
        last = text;
        return token;
      },
    },
    ports,
  );
  return {
    source,
    async prove() {
      const { value: token, generation } = await value.read();
      const { clientAssertion } = token;
      return { authentication: { method: "client_assertion", clientAssertion }, generation };
    },
    look: value.look,
    status: value.status,
  };
}

function parseToken(text: string, { origin, setting }: TokenIssuer, now: number): FederatedToken {
  const token = readFederatedToken(text);
  if ("problem" in token)
    throw new ConfigurationError([{ path: setting, problem: `the token of ${origin} ${token.problem}` }]);
  if (token.expiresAt - MARGIN_MS > now) return token;
  const problem = `the token that ${origin} gave has ended already; is the clock right?`;
  throw new ConfigurationError([{ path: setting, problem }]);
}
