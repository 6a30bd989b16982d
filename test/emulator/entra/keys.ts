/** Entra's token-signing keys: what is published, what signs, and how they roll over. */

import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { createCertificate } from "../certificate.ts";
import type { SigningKeyChoice } from "../handle.ts";
import { generateRsaPair, generateRsaPairSync } from "../rsa-keys.ts";
import type { Cloud } from "./clouds.ts";

const YEAR_MS = 365 * 24 * 3_600_000;
/** Tenant of consumer accounts; its keys sit in the common set and serve no other issuer. */
const CONSUMER_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad";

export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** One certificate, base64 DER. */
  readonly x5c: string;
}

export interface SigningKeys {
  active(): SigningKey;
  choose(choice: SigningKeyChoice | undefined): SigningKey;
  /** A key that a tenant's set shows at this moment. */
  published(kid: unknown): SigningKey | undefined;
  roll(options?: { readonly publish?: boolean }): Promise<{ activeKid: string; previousKid: string }>;
  publish(kid: string): void;
  retire(kid: string): void;
  /** The JWK set of one tenant, or with `undefined` the mixed one of `common` and its siblings. */
  document(cloud: Cloud, tenantId: string | undefined, version: 1 | 2): { readonly keys: readonly object[] };
}

export async function createSigningKeys(now: () => number): Promise<SigningKeys> {
  const known = new Map<string, SigningKey>();
  const add = (privateKey: KeyObject): SigningKey => {
    const key = signingKey(privateKey, now());
    known.set(key.kid, key);
    return key;
  };
  const [first, second] = await Promise.all([generateRsaPair(), generateRsaPair()]);
  let active = add(first.privateKey);
  let next = add(second.privateKey);
  const published = new Set([active.kid, next.kid]);

  // Odd keys are rarely asked for and cost time, so they are made at first use.
  const odd = new Map<string, SigningKey>();
  const oddKey = (name: string): SigningKey => {
    const key = odd.get(name) ?? add(generateRsaPairSync().privateKey);
    odd.set(name, key);
    return key;
  };

  return {
    active: () => active,
    choose(choice = "active") {
      if (choice === "active") return active;
      if (choice === "next") return next;
      if (["unpublished", "consumer-accounts", "other-cloud"].includes(choice)) return oddKey(choice);
      const key = known.get(choice);
      if (key === undefined) throw new Error(`the emulator knows no signing key ${choice}`);
      return key;
    },
    published: (kid) => (typeof kid === "string" && published.has(kid) ? known.get(kid) : undefined),
    async roll({ publish = true } = {}) {
      const previous = active;
      const fresh = add((await generateRsaPair()).privateKey);
      if (publish) {
        active = next;
        next = fresh;
        published.add(fresh.kid);
      } else {
        active = fresh;
      }
      return { activeKid: active.kid, previousKid: previous.kid };
    },
    publish: (kid) => void published.add(kid),
    retire: (kid) => void published.delete(kid),

    document(cloud, tenantId, version) {
      const keys = [...published].flatMap((kid) => known.get(kid) ?? []);
      const issuer = cloud.v2Issuer(tenantId ?? "{tenantid}");
      const entries = keys.map((key) => jwk(key, { issuer, cloud_instance_name: cloud.instanceName }));
      if (tenantId === undefined) {
        entries.unshift(
          jwk(oddKey("consumer-accounts"), {
            issuer: cloud.v2Issuer(CONSUMER_TENANT),
            cloud_instance_name: cloud.instanceName,
          }),
          // A key of another cloud under this cloud's template, as the real set has it.
          jwk(oddKey("other-cloud"), { issuer, cloud_instance_name: "microsoftonline.us" }),
        );
      }
      return version === 2 ? { keys: entries } : { keys: entries.map(withoutIssuer) };
    },
  };
}

function signingKey(privateKey: KeyObject, at: number): SigningKey {
  const publicKey = createPublicKey(privateKey);
  const certificate = createCertificate({
    commonName: "accounts.accesscontrol.windows.net",
    subjectKey: publicKey,
    issuerName: "accounts.accesscontrol.windows.net",
    issuerKey: privateKey,
    issuerPublicKey: publicKey,
    notBefore: at,
    notAfter: at + 5 * YEAR_MS,
    purpose: "token-signing",
  });
  return {
    kid: createHash("sha1").update(certificate).digest("base64url"),
    privateKey,
    publicKey,
    x5c: certificate.toString("base64"),
  };
}

/** No `alg`: Entra leaves it out. */
function jwk(key: SigningKey, members: { issuer: string; cloud_instance_name: string }) {
  const { n, e } = key.publicKey.export({ format: "jwk" });
  return { kty: "RSA", use: "sig", kid: key.kid, x5t: key.kid, n, e, x5c: [key.x5c], ...members };
}

/** The v1 set shows the same keys without an issuer (not confirmed). */
function withoutIssuer({ issuer: _, ...entry }: ReturnType<typeof jwk>) {
  return entry;
}
