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
export function pemOfPkcs12(content: Buffer, password: Secret | undefined): string {
  const structure = parse(content);
  const safes = open(structure, password);
  return safes.flatMap(({ safeBags }) => safeBags.map(pemOf)).join("");
}

function parse(content: Buffer): forge.asn1.Asn1 {
  let structure: forge.asn1.Asn1;
  try {
    structure = forge.asn1.fromDer(content.toString("latin1"));
  } catch (cause) {
    throw new PemFault("is binary and cannot be read as PKCS#12; is it cut short?", { cause });
  }
  const [version] = members(structure);
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
  const utf8 = Buffer.from(text).toString("latin1");
  return [
    () => read(structure, text),
    () => {
      checkIntegrity(structure, text);
      return read(withoutMac(structure), utf8);
    },
  ];
}

type Digest = "sha1" | "sha256" | "sha384" | "sha512";

/** By object identifier: RFC 3279 §2.1 and RFC 5754 §2. */
const DIGESTS: Readonly<Record<string, Digest>> = {
  "1.3.14.3.2.26": "sha1",
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};

/**
 * RFC 7292 §4: MacData is the third member. The content is checked as it stands in the file; where BER brought it in pieces,
 * the first attempt has joined them. Whatever a damaged structure lacks ends this attempt as well.
 */
function checkIntegrity(structure: forge.asn1.Asn1, password: string): void {
  const [, content, macData] = members(structure);
  const [octets] = members(members(content)[1]);
  const [digestInfo, salt, count] = members(macData);
  const [algorithm, stated] = members(digestInfo);
  const [oid] = members(algorithm);
  const name = DIGESTS[forge.asn1.derToOid(textOf(oid))] as Digest;
  const digest = forge.md[name].create();
  const key = forge.pkcs12.generateKey(
    password,
    forge.util.createBuffer(textOf(salt)),
    3,
    count === undefined ? 1 : forge.asn1.derToInteger(textOf(count)),
    digest.digestLength,
    digest,
  );
  const mac = createHmac(name, bytesOf(key.getBytes()))
    .update(bytesOf(textOf(octets)))
    .digest();
  if (!timingSafeEqual(mac, bytesOf(textOf(stated)))) throw new Error("the integrity check fails");
}

function withoutMac(structure: forge.asn1.Asn1): forge.asn1.Asn1 {
  const { tagClass, type, constructed } = structure;
  return forge.asn1.create(tagClass, type, constructed, members(structure).slice(0, 2));
}

function members(structure: forge.asn1.Asn1 | undefined): forge.asn1.Asn1[] {
  return (structure as forge.asn1.Asn1).value as forge.asn1.Asn1[];
}

function textOf(structure: forge.asn1.Asn1 | undefined): string {
  return (structure as forge.asn1.Asn1).value as string;
}

const bytesOf = (text: string) => Buffer.from(text, "latin1");

/**
 * forge gives either its form of a key or of a certificate, or the ASN.1 of what it does not know: keys that are not RSA,
 * and their certificates.
 */
function pemOf({ type, key, cert, asn1 }: forge.pkcs12.Bag): string {
  return type === forge.pki.oids.certBag
    ? block("CERTIFICATE", asn1 ?? forge.pki.certificateToAsn1(cert as forge.pki.Certificate))
    : block(
        "PRIVATE KEY",
        asn1 ?? forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(key as forge.pki.PrivateKey)),
      );
}

function block(label: string, der: forge.asn1.Asn1): string {
  const body = Buffer.from(forge.asn1.toDer(der).getBytes(), "latin1").toString("base64");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}
