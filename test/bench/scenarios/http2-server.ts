/** The server of the http2 scenario, in a process of its own: answers `/n` with n bytes, over whichever version is asked for. */

import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { createCertificate, toPem } from "../../emulator/certificate.ts";

const CHUNK = Buffer.alloc(64 * 1024, "0123456789abcdef");
const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
const issue = (purpose: "authority" | "server", commonName: string) =>
  toPem(
    createCertificate({
      commonName,
      subjectKey: authority.publicKey,
      issuerName: "Bench CA",
      issuerKey: authority.privateKey,
      issuerPublicKey: authority.publicKey,
      notBefore: Date.now() - 86_400_000,
      notAfter: Date.now() + 86_400_000,
      purpose,
      ...(purpose === "server" ? { names: ["127.0.0.1"] } : {}),
    }),
  );
const key = authority.privateKey.export({ type: "pkcs8", format: "pem" });

const server = http2.createSecureServer(
  {
    key,
    cert: issue("server", "127.0.0.1"),
    allowHTTP1: true,
    settings: { maxConcurrentStreams: 1000 },
  },
  async (request, response) => {
    const bytes = Number(request.url.slice(1));
    response.writeHead(200, { "content-length": bytes, "x-version": request.httpVersion });
    for (let left = bytes; left > 0; left -= CHUNK.length) {
      const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      if (!response.write(chunk) && left > CHUNK.length) await once(response, "drain");
    }
    response.end();
  },
);
server.listen(0, "127.0.0.1");
await once(server, "listening");
process.send?.({ port: (server.address() as AddressInfo).port, ca: issue("authority", "Bench CA") });
process.on("disconnect", () => process.exit());
