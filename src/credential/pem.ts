/** One PEM text in, an RSA key with its certificate chain out; each way it can be wrong has its own sentence. */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { Secret } from "../foundation/secret.ts";

/** Entra refuses shorter keys, and NIST SP 800-131A disallows them. */
const MIN_KEY_BITS = 2048;

/** ASN.1 SEQUENCE, X.690 §8.9: how PKCS#12 and other binary files begin; no PEM text does. */
const DER_SEQUENCE = 0x30;

/** Whether this is a binary file: PKCS#12, if it is anything that can be used. */
export function isBinary(content: Buffer): boolean {
  return content[0] === DER_SEQUENCE;
}

export interface KeyAndChain {
  readonly privateKey: KeyObject;
  /** The certificate of the key, then its issuers as far as the file holds them. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
}

/** Why a PEM text cannot be used: the end of a sentence that begins with the file's name. Never quotes the text. */
export class PemFault extends Error {
  override readonly name = "PemFault";
  /** Whether the password, not the file, is what has to be mended. */
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
 * Reads key and certificates in any order (RFC 7468; PKCS#8, encrypted PKCS#8, PKCS#1), ignoring text between them.
 *
 * @throws {PemFault}
 */
export function readPem(content: Buffer, password: Secret | undefined): KeyAndChain {
  const blocks = readBlocks(content.toString("latin1"));
  const privateKey = readKey(blocks, password);
  const certificates = blocks
    .filter(({ label }) => label === "CERTIFICATE" || label === "X509 CERTIFICATE")
    .map(readCertificate);
  if (certificates.length === 0) {
    throw new PemFault("holds a private key but no certificate; put both into the one file");
  }
  return { privateKey, chain: chainFor(privateKey, certificates) };
}

function readBlocks(text: string): Block[] {
  const pattern = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g;
  const blocks = [...text.matchAll(pattern)].map(([block, label = ""]) => ({ label, text: block }));
  const begun = text.match(/-----BEGIN /g)?.length ?? 0;
  if (begun === 0) throw new PemFault("holds no PEM block (-----BEGIN …-----)");
  if (begun !== blocks.length) throw new PemFault("is cut short: a PEM block has no end");
  return blocks;
}

function readKey(blocks: readonly Block[], password: Secret | undefined): KeyObject {
  const [block, ...others] = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  if (block === undefined) {
    throw new PemFault("holds a certificate but no private key; put both into the one file");
  }
  if (others.length > 0) {
    throw new PemFault(
      `holds ${others.length + 1} private keys; keep the one that belongs to the certificate`,
    );
  }
  const key = decodeKey(block, password);
  if (key.asymmetricKeyType !== "rsa") {
    const type = (key.asymmetricKeyType ?? "unknown").toUpperCase();
    throw new PemFault(`holds a key of type ${type}; Entra takes client assertions signed with RSA only`);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_KEY_BITS)
    throw new PemFault(`holds an RSA key of ${bits} bits; at least ${MIN_KEY_BITS} are needed`);
  return key;
}

function decodeKey({ label, text }: Block, password: Secret | undefined): KeyObject {
  // RFC 1421 §4.6.1.1 marks a PKCS#1 key that OpenSSL encrypted in the old way.
  const encrypted = label === "ENCRYPTED PRIVATE KEY" || text.includes("Proc-Type: 4,ENCRYPTED");
  if (encrypted && password === undefined) {
    throw new PemFault("holds an encrypted private key, and no password is set", { aboutPassword: true });
  }
  try {
    return createPrivateKey(
      encrypted && password !== undefined ? { key: text, passphrase: password.reveal() } : text,
    );
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

function chainFor(key: KeyObject, certificates: readonly X509Certificate[]): KeyAndChain["chain"] {
  // One key may have been certified again; the certificate that lasts longest is the newest.
  const [leaf] = certificates
    .filter((certificate) => certificate.checkPrivateKey(key))
    .sort((one, other) => Date.parse(other.validTo) - Date.parse(one.validTo));
  if (leaf === undefined) throw new PemFault("holds a private key that belongs to none of its certificates");
  const chain: [X509Certificate, ...X509Certificate[]] = [leaf];
  for (let last: X509Certificate | undefined = leaf; last !== undefined; ) {
    const child: X509Certificate = last;
    last = certificates.find(
      (one) => !chain.includes(one) && child.checkIssued(one) && child.verify(one.publicKey),
    );
    if (last !== undefined) chain.push(last);
  }
  return chain;
}
