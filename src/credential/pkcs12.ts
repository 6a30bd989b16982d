/** One PKCS#12 file in, the same keys and certificates as PEM out. The only file that knows node-forge. */

import forge from "node-forge";
import type { Secret } from "../foundation/secret.ts";
import { PemFault } from "./pem.ts";

/** PFX, RFC 7292 §4: a sequence that begins with INTEGER 3. A certificate or a key alone begins otherwise. */
const PFX_VERSION = "\x03";

/**
 * Opens the file and hands over what is in it, unjudged: whether key and certificates belong together and will do is
 * decided where it is for every PEM. A file without password is opened with none or the empty one, since writers
 * differ in which of the two they mean.
 *
 * @throws {PemFault} when it is not PKCS#12, cut short, or does not open with this password.
 */
export function pemOfPkcs12(content: Buffer, password: Secret | undefined): Buffer {
  const structure = parse(content);
  const safes = open(structure, password);
  const blocks = safes.flatMap(({ safeBags }) => safeBags.map(pemOf));
  return Buffer.from(blocks.join(""), "latin1");
}

function parse(content: Buffer): forge.asn1.Asn1 {
  let structure: forge.asn1.Asn1;
  try {
    structure = forge.asn1.fromDer(content.toString("latin1"));
  } catch (cause) {
    throw new PemFault("is binary and cannot be read as PKCS#12; is it cut short?", { cause });
  }
  const [version] = Array.isArray(structure.value) ? structure.value : [];
  if (version?.type !== forge.asn1.Type.INTEGER || version.value !== PFX_VERSION) {
    throw new PemFault(
      "is binary, but not PKCS#12; a DER certificate holds no private key: export both as .pfx or PEM",
    );
  }
  return structure;
}

function open(
  structure: forge.asn1.Asn1,
  password: Secret | undefined,
): forge.pkcs12.Pkcs12Pfx["safeContents"] {
  const attempts = password === undefined ? ["", undefined] : [password.reveal()];
  let failure: unknown;
  for (const attempt of attempts) {
    try {
      return forge.pkcs12.pkcs12FromAsn1(structure, false, attempt).safeContents;
    } catch (cause) {
      failure = cause;
    }
  }
  // A wrong password shows as a failed check or as whatever the garbage it decrypts to fails with.
  throw new PemFault(
    password === undefined
      ? "is a PKCS#12 file with a password, and no password is set"
      : "is a PKCS#12 file that this password does not open",
    { aboutPassword: true, cause: failure },
  );
}

/** Keys that are not RSA, and their certificates, come as the ASN.1 that they were: forge does not know them. */
function pemOf({ type, key, cert, asn1 }: forge.pkcs12.Bag): string {
  if (type === forge.pki.oids.certBag) {
    const der = asn1 ?? (cert === undefined || cert === null ? undefined : forge.pki.certificateToAsn1(cert));
    return der === undefined ? "" : block("CERTIFICATE", der);
  }
  const der =
    asn1 ??
    (key === undefined || key === null
      ? undefined
      : forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(key)));
  return der === undefined ? "" : block("PRIVATE KEY", der);
}

function block(label: string, der: forge.asn1.Asn1): string {
  const body = Buffer.from(forge.asn1.toDer(der).getBytes(), "latin1").toString("base64");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}
