/** Client assertions that the gateway signs itself (RFC 7523 §3; Entra, certificate-credentials): PS256, x5t#S256. */

import { constants, createHash, type KeyObject, randomUUID, sign, type X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import { Secret } from "../foundation/secret.ts";
import type { AuthenticationRequest } from "./contract.ts";

/** Entra asks for five to ten minutes. */
const LIFETIME_SECONDS = 600;
/** An assertion is not handed out in its last minute: it has to arrive, at a clock that may be ahead of ours. */
const MARGIN_MS = 60_000;
/** Assertions kept, one per client and tenant. */
const MAX_KEPT = 256;

const signAsync = promisify(sign);

export interface SigningOptions {
  /** RSA. Held for the signer's life, since parsing it again would cost several signatures. */
  readonly privateKey: KeyObject;
  /** The certificate of that key first, then its issuers. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
  /** Whether the chain goes along as `x5c` (RFC 7515 §4.1.6). */
  readonly sendChain: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

interface Kept {
  readonly assertion: Promise<Secret>;
  readonly signedAt: number;
}

/**
 * Makes a function that gives an assertion for a client and a token endpoint, signed when there is none with a
 * minute left. Signing runs off the main thread, once for all who ask at the same time.
 */
export function createAssertionSigner(
  options: SigningOptions,
): (request: AuthenticationRequest) => Promise<Secret> {
  const { privateKey, chain, sendChain, now } = options;
  const header = encode({
    alg: "PS256",
    typ: "JWT",
    "x5t#S256": createHash("sha256").update(chain[0].raw).digest("base64url"),
    ...(sendChain ? { x5c: chain.map(({ raw }) => raw.toString("base64")) } : {}),
  });
  // Insertion order is order of last use.
  const kept = new Map<string, Kept>();

  async function signFor({ clientId, tokenEndpoint }: AuthenticationRequest, at: number): Promise<Secret> {
    const iat = Math.floor(at / 1000);
    const payload = encode({
      aud: tokenEndpoint,
      iss: clientId,
      sub: clientId,
      jti: randomUUID(),
      iat,
      nbf: iat,
      exp: iat + LIFETIME_SECONDS,
    });
    const input = `${header}.${payload}`;
    // RFC 7518 §3.5: the salt is as long as the digest.
    const signature = await signAsync("sha256", Buffer.from(input), {
      key: privateKey,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    });
    return new Secret(`${input}.${signature.toString("base64url")}`);
  }

  function isFresh({ signedAt }: Kept, at: number): boolean {
    // A clock that was set back would otherwise keep an assertion that is not valid yet.
    return signedAt <= at && at < signedAt + LIFETIME_SECONDS * 1000 - MARGIN_MS;
  }

  return (request) => {
    const at = now();
    const key = JSON.stringify([request.clientId, request.tokenEndpoint]);
    const found = kept.get(key);
    kept.delete(key);
    const entry =
      found !== undefined && isFresh(found, at)
        ? found
        : { assertion: signFor(request, at), signedAt: Math.floor(at / 1000) * 1000 };
    kept.set(key, entry);
    entry.assertion.catch(() => {
      if (kept.get(key) === entry) kept.delete(key);
    });
    const [oldest] = kept.keys();
    if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
    return entry.assertion;
  };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
