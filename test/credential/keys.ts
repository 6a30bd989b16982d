/** Keys, certificates and federated tokens for credential tests, made when they run. */

import { createPublicKey, type KeyObject } from "node:crypto";
import { SignJWT } from "jose";
import { createCertificate, toPem } from "../emulator/certificate.ts";
import { generateRsaPairSync } from "../emulator/rsa-keys.ts";

export const DAY_MS = 24 * 60 * 60_000;

/** The moment at which most tests stand still. */
export const NOON = Date.parse("2026-11-21T12:00:00Z");

export function generateRsa(modulusLength = 2048): KeyObject {
  return generateRsaPairSync({ modulusLength }).privateKey;
}

export interface Issued {
  readonly der: Buffer;
  readonly pem: string;
}

export interface IssueOptions {
  readonly key: KeyObject;
  readonly name?: string;
  /** Issuer's name and key; left out, the certificate signs itself. */
  readonly issuer?: { readonly name: string; readonly key: KeyObject };
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly authority?: boolean;
}

export function issue(options: IssueOptions): Issued {
  const name = options.name ?? "obo-gateway";
  const issuer = options.issuer ?? { name, key: options.key };
  const der = createCertificate({
    commonName: name,
    subjectKey: createPublicKey(options.key),
    issuerName: issuer.name,
    issuerKey: issuer.key,
    issuerPublicKey: createPublicKey(issuer.key),
    notBefore: options.notBefore ?? NOON - DAY_MS,
    notAfter: options.notAfter ?? NOON + 365 * DAY_MS,
    purpose: options.authority === true ? "authority" : "client",
  });
  return { der, pem: toPem(der) };
}

export function pkcs8(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

/** Key and self-signed certificate as one file. */
export function keyAndCertificate(key: KeyObject, options: Omit<IssueOptions, "key"> = {}): string {
  return pkcs8(key) + issue({ key, ...options }).pem;
}

/** A service-account token as AKS issues it: no `typ`, audience as an array. */
export function serviceAccountToken(
  key: KeyObject,
  expiresAt: number,
  id: string | number = "1",
): Promise<string> {
  return new SignJWT({ jti: String(id) })
    .setProtectedHeader({ alg: "RS256", kid: "cluster" })
    .setIssuer("https://oidc.example/cluster/")
    .setSubject("system:serviceaccount:gateway:obo-gateway")
    .setAudience(["api://AzureADTokenExchange"])
    .setIssuedAt(Math.floor(Math.min(expiresAt - 3_600_000, NOON) / 1000))
    .setExpirationTime(Math.floor(expiresAt / 1000))
    .sign(key);
}
