/** A private CA that lives as long as the emulator: server certificates for its listeners, client certificates for the gateway. */

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { createCertificate, toPem } from "./certificate.ts";
import type { ClientCertificate, ClientCertificateOptions } from "./handle.ts";
import { generateRsaPair } from "./rsa-keys.ts";

const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

export interface ServerCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface CertificateAuthority {
  readonly certificatePem: string;
  issueServerCertificate(names: readonly string[]): ServerCertificate;
  issueClientCertificate(options?: ClientCertificateOptions): Promise<ClientCertificate>;
}

/** @param now clock of client certificates; TLS certificates follow the real clock, because TLS peers do. */
export function createCertificateAuthority(now: () => number): CertificateAuthority {
  const issuerName = "obo-gateway emulator CA";
  // P-256 for TLS: an RSA key would cost every start a noticeable fraction of a second.
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const issuer = { issuerName, issuerKey: authority.privateKey, issuerPublicKey: authority.publicKey };
  const certificatePem = toPem(
    createCertificate({
      ...issuer,
      commonName: issuerName,
      subjectKey: authority.publicKey,
      notBefore: Date.now() - 24 * HOUR_MS,
      notAfter: Date.now() + YEAR_MS,
      purpose: "authority",
    }),
  );

  return {
    certificatePem,

    issueServerCertificate(names) {
      const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const der = createCertificate({
        ...issuer,
        commonName: names[0] ?? "localhost",
        subjectKey: leaf.publicKey,
        notBefore: Date.now() - 24 * HOUR_MS,
        notAfter: Date.now() + YEAR_MS,
        purpose: "server",
        names,
      });
      return { key: pkcs8(leaf.privateKey), cert: toPem(der) + certificatePem };
    },

    async issueClientCertificate(options = {}) {
      const privateKey =
        options.keyPem === undefined
          ? (await generateRsaPair()).privateKey
          : createPrivateKey(options.keyPem);
      const der = createCertificate({
        ...issuer,
        commonName: options.commonName ?? "obo-gateway",
        subjectKey: createPublicKey(privateKey),
        notBefore: options.notBefore ?? now() - HOUR_MS,
        notAfter: options.notAfter ?? now() + YEAR_MS,
        purpose: "client",
      });
      const certificate = toPem(der);
      const privateKeyPem = pkcs8(privateKey);
      return {
        certificatePem: certificate,
        privateKeyPem,
        chainPem: certificatePem,
        pem: privateKeyPem + certificate + certificatePem,
        thumbprintSha256: createHash("sha256").update(der).digest("hex").toUpperCase(),
        thumbprintSha1: createHash("sha1").update(der).digest("hex").toUpperCase(),
      };
    },
  };
}

function pkcs8(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
