/** One PKCS#12 file in, the same keys and certificates as PEM out. The only file that knows node-forge. */

import { createHmac, timingSafeEqual } from "node:crypto";
import forge from "node-forge";
import type { Secret } from "../foundation/secret.ts";
import { PemFault } from "./pem.ts";

/** PFX, RFC 7292 §4: a sequence that begins with INTEGER 3. A certificate or a key alone begins otherwise. */
const PFX_VERSION = "\x03";

/**
 * Opens the file and hands over what is in it: whether key and certificates belong together and will do is decided where
 * it is for every PEM. A file without password is opened with none or the empty one, since writers
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
    throw new PemFault("is binary, but not PKCS#12; export key and certificate as .pfx or PEM");
  }
  return structure;
}

type SafeContents = forge.pkcs12.Pkcs12Pfx["safeContents"];

function open(structure: forge.asn1.Asn1, password: Secret | undefined): SafeContents {
  let failure: unknown;
  for (const attempt of attemptsAt(structure, password)) {
    try {
      return attempt();
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

/**
 * A password beyond ASCII has two forms in one file: RFC 7292 appendix B takes it as UTF-16 for the check of integrity and
 * for the older ciphers, and OpenSSL 3 gives its UTF-8 bytes to PBKDF2 (RFC 8018). The library knows the first form alone,
 * so the second attempt checks integrity by it and decrypts by the other one.
 */
function attemptsAt(structure: forge.asn1.Asn1, password: Secret | undefined): (() => SafeContents)[] {
  const read = (of: forge.asn1.Asn1, text: string | undefined) =>
    forge.pkcs12.pkcs12FromAsn1(of, false, text).safeContents;
  if (password === undefined) return [() => read(structure, ""), () => read(structure, undefined)];
  const text = password.reveal();
  const utf8 = Buffer.from(text, "utf8").toString("latin1");
  if (utf8 === text) return [() => read(structure, text)];
  return [
    () => read(structure, text),
    () => {
      checkIntegrity(structure, text);
      return read(withoutMac(structure), utf8);
    },
  ];
}

const DIGESTS: Readonly<
  Record<string, readonly [name: "sha1" | "sha256" | "sha384" | "sha512", bytes: number]>
> = {
  [forge.pki.oids.sha1 ?? ""]: ["sha1", 20],
  [forge.pki.oids.sha256 ?? ""]: ["sha256", 32],
  [forge.pki.oids.sha384 ?? ""]: ["sha384", 48],
  [forge.pki.oids.sha512 ?? ""]: ["sha512", 64],
};

/** RFC 7292 §4: MacData is the third member. The content is checked as it stands in the file. */
function checkIntegrity(structure: forge.asn1.Asn1, password: string): void {
  const [, content, macData] = members(structure);
  const [digestInfo, salt, count] = members(macData);
  const [algorithm, digest] = members(digestInfo);
  const [oid] = members(algorithm);
  const [name, bytes] = DIGESTS[forge.asn1.derToOid(bytesOf(oid))] ?? [];
  if (name === undefined || bytes === undefined) throw new Error("the integrity check has an unknown digest");
  const iterations = count === undefined ? 1 : forge.asn1.derToInteger(bytesOf(count));
  const key = forge.pkcs12.generateKey(
    password,
    forge.util.createBuffer(bytesOf(salt)),
    3,
    iterations,
    bytes,
    forge.md[name].create(),
  );
  const mac = createHmac(name, Buffer.from(key.getBytes(), "latin1"))
    .update(Buffer.from(authenticatedBytes(content), "latin1"))
    .digest();
  const stated = Buffer.from(bytesOf(digest), "latin1");
  if (mac.length !== stated.length || !timingSafeEqual(mac, stated))
    throw new Error("the integrity check fails");
}

/** ContentInfo holds `[0] OCTET STRING`; in BER that string may come in pieces. */
function authenticatedBytes(content: forge.asn1.Asn1 | undefined): string {
  const [octets] = members(members(content)[1]);
  return octets?.constructed === true ? members(octets).map(bytesOf).join("") : bytesOf(octets);
}

function withoutMac(structure: forge.asn1.Asn1): forge.asn1.Asn1 {
  const { tagClass, type, constructed } = structure;
  return forge.asn1.create(tagClass, type, constructed, members(structure).slice(0, 2));
}

function members(structure: forge.asn1.Asn1 | undefined): readonly forge.asn1.Asn1[] {
  return Array.isArray(structure?.value) ? structure.value : [];
}

function bytesOf(structure: forge.asn1.Asn1 | undefined): string {
  return typeof structure?.value === "string" ? structure.value : "";
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
