/** The certificate: dates, key, and the thumbprints that the registration has to show. */

import type { X509Certificate } from "node:crypto";
import { isPkcs12 as isPkcs12File, readKeyAndChain } from "../credential/key-file.ts";
import { listCertificates, quote, registerCertificate } from "./commands.ts";
import type { Examination } from "./examination.ts";
import { contentOf, type Opened, sentence } from "./opened.ts";
import { fault, ok, type Verdict, warning } from "./verdict.ts";

const DAY_MS = 24 * 60 * 60_000;

/** The certificate of a file, or of the text that a variable holds. */
export async function checkCertificate(opened: Opened, examination: Examination): Promise<Verdict> {
  const { registration, now, config } = examination;
  const { certificatePath: path, certificate: text } = config.credential;
  const content = path === undefined ? Buffer.from(text?.reveal() ?? "") : await contentOf(path);
  // There is nothing to run on a variable that would not print it.
  const onFile = (...commands: ((file: string) => string)[]) =>
    path === undefined ? [] : commands.map((command) => command(quote(path)));
  const certificate = await leafOf(content, examination);
  const isPkcs12 = content !== undefined && isPkcs12File(content);
  const facts = certificate === undefined ? {} : factsOf(certificate);
  if ("error" in opened) {
    const outdated =
      certificate !== undefined &&
      (now() >= Date.parse(certificate.validTo) || now() < Date.parse(certificate.validFrom));
    if (outdated)
      return fault(sentence(opened.error), "make a new certificate, register it, and put its file in place", {
        facts,
        commands: [...renew, registerCertificate(registration)],
      });
    if (opened.error.faults.some(({ path: setting }) => setting.endsWith("_PASSWORD")))
      return fault(
        sentence(opened.error),
        "set AZURE_CLIENT_CERTIFICATE_PASSWORD to the pass phrase that the key was encrypted with",
        {
          commands: onFile(
            (file) =>
              `openssl ${isPkcs12 ? "pkcs12" : "pkey"} -in ${file} -passin env:AZURE_CLIENT_CERTIFICATE_PASSWORD -noout`,
          ),
        },
      );
    return fault(
      sentence(opened.error),
      "provide one readable file with an RSA key of 2048 bits or more and the certificate of that key: their public keys are the same",
      {
        commands: isPkcs12
          ? onFile((file) => `openssl pkcs12 -in ${file} -info -nokeys`)
          : onFile(
              (file) => `openssl pkey -in ${file} -pubout | sha256sum`,
              (file) => `openssl x509 -in ${file} -pubkey -noout | sha256sum`,
            ),
      },
    );
  }
  const compare = [listCertificates(registration)];
  const [exposed] = opened.events.filter(({ type }) => type === "file_exposed");
  if (exposed !== undefined)
    return warning(exposed.message, "let only the gateway's own user read it", {
      facts,
      commands: onFile((file) => `chmod 600 ${file}`),
    });
  const endsAt = opened.ring.status().sources[0]?.expiresAt ?? 0;
  const days = Math.floor((endsAt - now()) / DAY_MS);
  if (opened.events.some(({ type }) => type === "expiring"))
    return warning(
      `the certificate ends in ${days} days`,
      "register a new certificate, then replace the file; the gateway takes it up by itself",
      { facts, commands: [...renew, registerCertificate(registration)] },
    );
  return ok(`the key matches its certificate, which is good for ${days} days; compare the thumbprint`, {
    facts,
    commands: compare,
  });
}

const renew = [
  "openssl req -x509 -newkey rsa:2048 -nodes -days 180 -subj /CN=obo-gateway -keyout key.pem -out cert.pem",
];

/** Read for its facts alone: the fault of a file that cannot be read is reported when the source is opened. */
async function leafOf(
  content: Buffer | undefined,
  { config }: Examination,
): Promise<X509Certificate | undefined> {
  if (content === undefined) return undefined;
  try {
    return (await readKeyAndChain(content, config.credential.certificatePassword)).chain[0];
  } catch {
    return undefined;
  }
}

function factsOf(certificate: X509Certificate): Record<string, string> {
  const plain = (fingerprint: string) => fingerprint.replaceAll(":", "");
  return {
    sha256Thumbprint: plain(certificate.fingerprint256),
    sha1Thumbprint: plain(certificate.fingerprint),
    notBefore: new Date(certificate.validFrom).toISOString(),
    notAfter: new Date(certificate.validTo).toISOString(),
  };
}
