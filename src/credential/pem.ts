/** One PEM text in, an RSA key with its certificate chain out; each way it can be wrong has its own sentence. */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { type RsaWeakness, rsaWeakness } from "../foundation/rsa-strength.ts";
import type { Secret } from "../foundation/secret.ts";

export interface KeyAndChain {
  readonly privateKey: KeyObject;
  /** The certificate of the key, then its issuers as far as the file holds them. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
}

/** Why a PEM text cannot be used: the end of a sentence that begins with the file's name. Never quotes the text. */
export class PemFault extends Error {
  override readonly name = "PemFault";
  /** Whether the password, not the file, is what has to be corrected. */
  readonly aboutPassword: boolean;

  constructor(problem: string, options?: ErrorOptions & { readonly aboutPassword?: boolean }) {
    super(problem, options);
    this.aboutPassword = options?.aboutPassword === true;
  }
}

interface Block {
  readonly label: string;
  readonly text: string;
}

/**
 * Reads key and certificates in any order (RFC 7468; PKCS#8, encrypted PKCS#8, PKCS#1), ignoring text between them. Of
 * several keys the one that a certificate belongs to is taken.
 *
 * @throws {PemFault}
 */
export function readPem(text: string, password: Secret | undefined): KeyAndChain {
  const blocks = readBlocks(text);
  const keyBlocks = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const certificateBlocks = blocks.filter(({ label }) => CERTIFICATE_LABELS.includes(label));
  if (keyBlocks.length === 0) throw new PemFault(problemWithoutKey(blocks));
  const keys = keyBlocks.map((block) => decodeKey(block, password));
  if (certificateBlocks.length === 0)
    throw new PemFault("holds a private key but no certificate; put both into the one file");
  const found = chainFor(keys, certificateBlocks.map(readCertificate));
  checkKey(found.privateKey);
  return found;
}

const CERTIFICATE_LABELS = ["CERTIFICATE", "X509 CERTIFICATE"];

/** What PEM files hold that are none of ours, by label. */
const WITHOUT_KEY: Readonly<Record<string, string>> = {
  "PUBLIC KEY": "holds a public key only; the private key and its certificate are needed",
  "RSA PUBLIC KEY": "holds a public key only; the private key and its certificate are needed",
  "CERTIFICATE REQUEST": "holds a certificate request, not the certificate that was issued for it",
  "NEW CERTIFICATE REQUEST": "holds a certificate request, not the certificate that was issued for it",
  PKCS7: "holds PKCS#7, which is certificates without a private key; export both as .pfx or PEM",
  "SSH2 PUBLIC KEY": "holds an SSH public key; the private key and its certificate are needed",
};

function problemWithoutKey(blocks: readonly Block[]): string {
  if (blocks.some(({ label }) => CERTIFICATE_LABELS.includes(label)))
    return "holds a certificate but no private key; put both into the one file";
  const [first] = blocks;
  return WITHOUT_KEY[first?.label ?? ""] ?? `holds ${first?.label ?? "nothing"}, but no private key`;
}

function readBlocks(text: string): Block[] {
  const pattern = /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g;
  const blocks = [...text.matchAll(pattern)].map(([, label = "", body = ""]) => ({
    label,
    text: lineBroken(label, body),
  }));
  const begun = text.match(/-----BEGIN /g)?.length ?? 0;
  if (begun === 0) throw new PemFault("holds no PEM block (-----BEGIN …-----)");
  if (begun !== blocks.length) throw new PemFault("is cut short: a PEM block has no end");
  return blocks;
}

/** Variables and YAML turn line breaks into blanks, or into a backslash and an n; OpenSSL wants them as they were. */
function lineBroken(label: string, body: string): string {
  // RFC 1421 §4.6.1.1: headers stand in lines of their own, and are not to be joined with the rest.
  const text = body.replaceAll("\\r", "").replaceAll("\\n", "\n");
  if (text.includes(":")) return `-----BEGIN ${label}-----${text}-----END ${label}-----`;
  const lines = text.replaceAll(/\s/g, "").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

const WEAKNESSES: Readonly<Record<Exclude<RsaWeakness, "type" | "modulus_length">, string>> = {
  exponent: "an RSA key with an unusable public exponent",
  small_factor: "an RSA key whose modulus is no product of two primes",
  roca: "an RSA key of ROCA form (CVE-2017-15361), whose private part can be computed from the certificate",
};

/** Entra takes client assertions with RSA only, refuses short keys, and could not tell the gateway from a forger otherwise. */
function checkKey(key: KeyObject): void {
  const weakness = rsaWeakness(key);
  if (weakness === undefined) return;
  if (weakness === "type") {
    const type = String(key.asymmetricKeyType).toUpperCase();
    throw new PemFault(`holds a key of type ${type}; Entra takes client assertions signed with RSA only`);
  }
  if (weakness === "modulus_length") {
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    throw new PemFault(`holds an RSA key of ${bits} bits; from 2048 to 8192 are accepted`);
  }
  throw new PemFault(`holds ${WEAKNESSES[weakness]}; make a new one`);
}

function decodeKey({ label, text }: Block, password: Secret | undefined): KeyObject {
  if (label === "OPENSSH PRIVATE KEY")
    throw new PemFault("holds an OpenSSH private key; convert it with ssh-keygen -p -m PKCS8");
  // RFC 1421 §4.6.1.1 marks a PKCS#1 key that OpenSSL encrypted in the old way.
  const encrypted = label === "ENCRYPTED PRIVATE KEY" || text.includes("Proc-Type: 4,ENCRYPTED");
  if (encrypted && password === undefined) {
    throw new PemFault("holds an encrypted private key, and no password is set", { aboutPassword: true });
  }
  try {
    return createPrivateKey(password === undefined ? text : { key: text, passphrase: password.reveal() });
  } catch (cause) {
    // A wrong password shows as whatever the garbage it decrypts to fails with, so every failure may be one.
    if (encrypted) {
      throw new PemFault("holds a private key that this password does not open", {
        aboutPassword: true,
        cause,
      });
    }
    throw new PemFault("holds a private key that cannot be read", { cause });
  }
}

function readCertificate({ text }: Block, index: number): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (cause) {
    throw new PemFault(`holds a certificate (number ${index + 1}) that cannot be read`, { cause });
  }
}

function chainFor(keys: readonly KeyObject[], certificates: readonly X509Certificate[]): KeyAndChain {
  // One key may have been certified again, and an old pair may have been left beside the new one; the certificate that
  // lasts longest is the newest.
  const [newest] = keys
    .flatMap((privateKey) =>
      certificates
        .filter((certificate) => certificate.checkPrivateKey(privateKey))
        .map((certificate) => ({ privateKey, certificate })),
    )
    .sort((one, other) => Date.parse(other.certificate.validTo) - Date.parse(one.certificate.validTo));
  if (newest === undefined) {
    // A key that would not do with its certificate either is the first thing to correct.
    for (const key of keys) checkKey(key);
    throw new PemFault(
      keys.length === 1
        ? "holds a private key that belongs to none of its certificates"
        : `holds ${keys.length} private keys, none of which belongs to any of its certificates`,
    );
  }
  const chain: [X509Certificate, ...X509Certificate[]] = [newest.certificate];
  for (let last: X509Certificate | undefined = newest.certificate; last !== undefined; ) {
    const child: X509Certificate = last;
    last = certificates.find(
      (one) => !chain.includes(one) && child.checkIssued(one) && child.verify(one.publicKey),
    );
    if (last !== undefined) chain.push(last);
  }
  return { privateKey: newest.privateKey, chain };
}
