/** Verifies an assertion of a foreign OIDC issuer against the federated credentials of an application. */

import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto";
import { get } from "node:https";
import { type DecodedJws, isObject, isSignedBy } from "../jws.ts";
import { checkTimes } from "./client-authentication.ts";
import type { Registration } from "./directory.ts";
import { EntraRefusal } from "./refusal.ts";

/** Entra keeps an issuer's keys for some time; an unknown `kid` makes it look again. */
const KEYS_KEPT_MS = 5 * 60_000;

export interface FederatedVerifier {
  /** @throws {EntraRefusal} one code for each member of (issuer, subject, audience) that differs. */
  verify(jws: DecodedJws, application: Registration): Promise<void>;
}

interface IssuerKeys {
  readonly fetchedAt: number;
  readonly keys: ReadonlyMap<string, KeyObject>;
}

export function createFederatedVerifier(parts: {
  readonly now: () => number;
  /** CA that the issuers' certificates chain to. */
  readonly caCertificate: string;
  /** Issuers that are Entra itself: their tokens must be app-only. */
  readonly isOwnIssuer: (issuer: string) => boolean;
}): FederatedVerifier {
  const { now, caCertificate, isOwnIssuer } = parts;
  const cache = new Map<string, IssuerKeys>();

  const keyOf = async (issuer: string, kid: unknown): Promise<KeyObject> => {
    const cached = cache.get(issuer);
    const known = cached?.keys.get(String(kid));
    if (known !== undefined && cached !== undefined && now() - cached.fetchedAt < KEYS_KEPT_MS) return known;
    let keys: IssuerKeys["keys"];
    try {
      keys = await fetchKeys(issuer, caCertificate);
    } catch (cause) {
      throw new EntraRefusal(90061, cause instanceof Error ? cause.message : "unreachable");
    }
    cache.set(issuer, { fetchedAt: now(), keys });
    const key = keys.get(String(kid));
    if (key === undefined) throw new EntraRefusal(50012, "the issuer shows no key of this 'kid'");
    return key;
  };

  return {
    async verify(jws, application) {
      const { payload, header } = jws;
      const issuer = String(payload.iss);
      matchCredential(payload, application, now());
      if (isOwnIssuer(issuer) && (payload.scp !== undefined || payload.idtyp === "user")) {
        throw new EntraRefusal(700229);
      }
      const key = await keyOf(issuer, header.kid);
      if (!isSignedBy(jws, key, ["RS256"])) throw new EntraRefusal(50012, "signature");
      checkTimes(payload, now());
    },
  };
}

/** Byte for byte: no wildcards, no case folding, no tolerance for a slash. */
function matchCredential(payload: DecodedJws["payload"], application: Registration, nowMs: number): void {
  const effective = application.federatedCredentials.filter(({ effectiveAt }) => effectiveAt <= nowMs);
  if (effective.length === 0) throw new EntraRefusal(70025);
  const ofIssuer = effective.filter(({ issuer }) => issuer === payload.iss);
  if (ofIssuer.length === 0) throw new EntraRefusal(700211);
  const ofSubject = ofIssuer.filter(({ subject }) => subject === payload.sub);
  if (ofSubject.length === 0) {
    const wanted = String(payload.sub).toLowerCase();
    const caseOnly = ofIssuer.some(({ subject }) => subject.toLowerCase() === wanted);
    throw new EntraRefusal(caseOnly ? 7002138 : 700213);
  }
  const audiences = [payload.aud].flat();
  if (!ofSubject.some(({ audience }) => audiences.includes(audience))) throw new EntraRefusal(700212);
}

async function fetchKeys(issuer: string, ca: string): Promise<Map<string, KeyObject>> {
  // OpenID Connect Discovery §4.1: a terminating slash of the issuer is dropped first.
  const document = await getJson(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, ca);
  if (document.issuer !== issuer) throw new Error("the discovery document names another issuer");
  const set = await getJson(String(document.jwks_uri), ca);
  const keys = new Map<string, KeyObject>();
  for (const jwk of Array.isArray(set.keys) ? set.keys : []) {
    if (!isObject(jwk) || jwk.kty !== "RSA") continue;
    keys.set(String(jwk.kid), createPublicKey({ key: jwk as JsonWebKey, format: "jwk" }));
  }
  return keys;
}

function getJson(url: string, ca: string): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    // No agent: a kept-alive connection would outlive the listener at close().
    const request = get(url, { ca, agent: false, timeout: 5_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        try {
          if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
          const value: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
          if (!isObject(value)) throw new Error("not a JSON object");
          resolve(value);
        } catch (cause) {
          reject(cause);
        }
      });
    });
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
  });
}
