/** A key and a certificate of a server on this machine, which signs itself: a client that trusts it as an authority takes it. */

import { generateKeyPairSync } from "node:crypto";
import { createCertificate, toPem } from "../emulator/certificate.ts";

const DAY_MS = 86_400_000;

/** In PEM, of a new key, valid from yesterday to tomorrow. */
export function createServerCertificate(name: string): { readonly key: string; readonly cert: string } {
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    key: String(keys.privateKey.export({ type: "pkcs8", format: "pem" })),
    cert: toPem(
      createCertificate({
        commonName: name,
        subjectKey: keys.publicKey,
        issuerName: name,
        issuerKey: keys.privateKey,
        issuerPublicKey: keys.publicKey,
        notBefore: Date.now() - DAY_MS,
        notAfter: Date.now() + DAY_MS,
        purpose: "server",
        names: [name],
      }),
    ),
  };
}
