/** A cluster's service-account issuer as AKS publishes it: discovery, keys on another host, projected tokens. */

import { createHash, createPublicKey, type KeyObject, randomUUID } from "node:crypto";
import express, { type Express } from "express";
import type { FaultEndpoint } from "../fault.ts";
import type { FaultInjection } from "../faults.ts";
import type { ServiceAccountTokenOptions } from "../handle.ts";
import { merged, signJws } from "../jws.ts";
import type { Draft, Recorder } from "../request-log.ts";
import type { MetadataRequest } from "../request-record.ts";
import { generateRsaPair } from "../rsa-keys.ts";

const ISSUER_PATH = "/6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01/c1a57e20-3f64-4d0b-9a8e-5b7d1f2e6a90/";
const KEYS_PATH = "/cluster-keys/openid/v1/jwks";
const NAMESPACE = "obo-gateway";
const SERVICE_ACCOUNT = "obo-gateway";
const AUDIENCE = "api://AzureADTokenExchange";
const EXPIRATION_SECONDS = 3_600;

/** What the seeded federated credential of the gateway expects. */
export const GATEWAY_SUBJECT = `system:serviceaccount:${NAMESPACE}:${SERVICE_ACCOUNT}`;
export const TOKEN_EXCHANGE_AUDIENCE = AUDIENCE;

export interface ServiceAccountIssuer {
  readonly issuer: string;
  readonly jwksUri: string;
  readonly app: Express;
  issueServiceAccountToken(options?: ServiceAccountTokenOptions): string;
  rollKey(options?: { readonly retireOld?: boolean }): Promise<void>;
}

export async function createServiceAccountIssuer(parts: {
  /** Origin of the issuer, and another one of the same listener for the keys: no client may assume one host. */
  readonly origin: string;
  readonly keysOrigin: string;
  readonly now: () => number;
  readonly recorder: Recorder;
  readonly faults: FaultInjection;
}): Promise<ServiceAccountIssuer> {
  const { origin, keysOrigin, now, recorder, faults } = parts;
  const issuer = `${origin}${ISSUER_PATH}`;
  const jwksUri = `${keysOrigin}${KEYS_PATH}`;
  let key = clusterKey((await generateRsaPair()).privateKey);
  const published = new Set([key]);

  const app = express().disable("x-powered-by").disable("etag");
  const serve = (
    path: string,
    endpoint: FaultEndpoint & MetadataRequest["endpoint"],
    document: () => object,
  ) => {
    app.get(
      path,
      (request, response, next) => {
        const draft: Draft<MetadataRequest> = {
          endpoint,
          at: now(),
          status: 0,
          faulted: false,
          aborted: false,
          path: request.path,
          tenant: "",
        };
        recorder.arrived(draft, response);
        next();
      },
      faults.meets(endpoint),
      (_request, response) => void response.json(document()),
    );
  };
  serve(`${ISSUER_PATH}.well-known/openid-configuration`, "kubernetes-discovery", () => ({
    issuer,
    jwks_uri: jwksUri,
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
  }));
  serve(KEYS_PATH, "kubernetes-keys", () => ({ keys: [...published].map((each) => each.jwk) }));

  return {
    issuer,
    jwksUri,
    app,
    issueServiceAccountToken(options = {}) {
      const { namespace = NAMESPACE, serviceAccount = SERVICE_ACCOUNT, audience = AUDIENCE } = options;
      const iat = Math.floor(now() / 1000);
      const claims = {
        aud: [audience],
        exp: iat + (options.expirationSeconds ?? EXPIRATION_SECONDS),
        iat,
        iss: issuer,
        jti: randomUUID(),
        "kubernetes.io": {
          namespace,
          node: { name: "aks-nodepool1-00000000-vmss000000", uid: "7d4b6f0e-6f5a-4a52-8a55-0f3b0e3d7c11" },
          pod: { name: `${serviceAccount}-5d8c7b9f6d-x2x7k`, uid: "2b1f4c8d-7a35-4c19-9d41-6a0f8e5c3b22" },
          serviceaccount: { name: serviceAccount, uid: "91c5d2e7-4f08-4b6b-8e17-3c2a9d7f5e33" },
        },
        nbf: iat,
        sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
      };
      // No `typ`: the API server leaves it out.
      return signJws({ alg: "RS256", kid: key.kid }, merged(claims, options.claims), key.privateKey);
    },
    async rollKey({ retireOld = false } = {}) {
      const fresh = clusterKey((await generateRsaPair()).privateKey);
      if (retireOld) published.delete(key);
      published.add(fresh);
      key = fresh;
    },
  };
}

/** The API server's `kid`: SHA-256 of the public key. */
function clusterKey(privateKey: KeyObject) {
  const publicKey = createPublicKey(privateKey);
  const der = publicKey.export({ type: "spki", format: "der" });
  const kid = createHash("sha256").update(der).digest("base64url");
  const { n, e } = publicKey.export({ format: "jwk" });
  return { kid, privateKey, jwk: { use: "sig", kty: "RSA", kid, alg: "RS256", n, e } };
}
