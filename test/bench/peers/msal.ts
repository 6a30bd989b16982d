/** One shared MSAL client with a certificate, the way MSAL's own samples use it. */

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { ConfidentialClientApplication } from "@azure/msal-node";
import { settings } from "./peer.ts";

export function createExchange(): (token: string) => Promise<string> {
  const { authorityHost, tenantId, clientId, certificateFile } = settings();
  const pem = readFileSync(certificateFile, "utf8");
  const client = new ConfidentialClientApplication({
    auth: {
      clientId,
      authority: `${authorityHost}${tenantId}`,
      knownAuthorities: [new URL(authorityHost).host],
      clientCertificate: {
        thumbprintSha256: new X509Certificate(pem).fingerprint256.replaceAll(":", ""),
        privateKey: /-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----/s.exec(pem)?.[0] ?? "",
      },
    },
  });
  return async (oboAssertion) => {
    // The scope that Entra echoes: MSAL finds `.default` in its cache only if the answer names it.
    const result = await client.acquireTokenOnBehalfOf({
      oboAssertion,
      scopes: ["https://graph.microsoft.com/User.Read"],
    });
    return result?.accessToken ?? "";
  };
}
