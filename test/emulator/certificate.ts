/** Writes X.509 v3 certificates (RFC 5280) with nothing but node:crypto: a fresh machine has no openssl. */

import { createHash, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

export interface CertificateRequest {
  readonly commonName: string;
  readonly subjectKey: KeyObject;
  readonly issuerName: string;
  readonly issuerKey: KeyObject;
  /** Public half of the issuer's key. */
  readonly issuerPublicKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly purpose: "authority" | "server" | "client" | "token-signing";
  /** Host names and addresses for the subject alternative name. */
  readonly names?: readonly string[];
}

/** The certificate in DER. RSA and P-256 keys only; signatures are SHA-256. */
export function createCertificate(request: CertificateRequest): Buffer {
  const algorithm = signatureAlgorithm(request.issuerKey);
  const toBeSigned = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(positive(randomBytes(16))),
    algorithm,
    distinguishedName(request.issuerName),
    sequence(time(request.notBefore), time(request.notAfter)),
    distinguishedName(request.commonName),
    spki(request.subjectKey),
    explicit(3, sequence(...extensions(request))),
  );
  return sequence(toBeSigned, algorithm, bitString(sign("sha256", toBeSigned, request.issuerKey)));
}

export function toPem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function extensions(request: CertificateRequest): Buffer[] {
  const authority = request.purpose === "authority";
  // Bit strings count from the left: digitalSignature is bit 0, keyCertSign bit 5, cRLSign bit 6.
  const usage = authority ? [1, 0b0000_0110] : [7, 0b1000_0000];
  const list = [
    extension("2.5.29.19", true, authority ? sequence(TRUE) : sequence()),
    extension("2.5.29.15", true, tlv(0x03, Buffer.from(usage))),
    extension("2.5.29.14", false, tlv(0x04, keyIdentifier(request.subjectKey))),
    extension("2.5.29.35", false, sequence(tlv(0x80, keyIdentifier(request.issuerPublicKey)))),
  ];
  if (request.purpose === "server")
    list.push(extension("2.5.29.37", false, sequence(oid("1.3.6.1.5.5.7.3.1"))));
  if (request.purpose === "client")
    list.push(extension("2.5.29.37", false, sequence(oid("1.3.6.1.5.5.7.3.2"))));
  if (request.names !== undefined) {
    list.push(extension("2.5.29.17", false, sequence(...request.names.map(generalName))));
  }
  return list;
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [TRUE] : []), tlv(0x04, value));
}

function generalName(name: string): Buffer {
  return isIP(name) === 4
    ? tlv(0x87, Buffer.from(name.split(".").map(Number)))
    : tlv(0x82, Buffer.from(name, "ascii"));
}

function keyIdentifier(key: KeyObject): Buffer {
  return createHash("sha1").update(spki(key)).digest();
}

function spki(key: KeyObject): Buffer {
  return key.export({ type: "spki", format: "der" });
}

function signatureAlgorithm(key: KeyObject): Buffer {
  return key.asymmetricKeyType === "ec"
    ? sequence(oid("1.2.840.10045.4.3.2"))
    : sequence(oid("1.2.840.113549.1.1.11"), tlv(0x05));
}

function distinguishedName(commonName: string): Buffer {
  return sequence(tlv(0x31, sequence(oid("2.5.4.3"), tlv(0x0c, Buffer.from(commonName)))));
}

/** UTCTime up to 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5). */
function time(ms: number): Buffer {
  const digits = `${new Date(ms).toISOString().slice(0, 19).replace(/\D/g, "")}Z`;
  return new Date(ms).getUTCFullYear() < 2050
    ? tlv(0x17, Buffer.from(digits.slice(2)))
    : tlv(0x18, Buffer.from(digits));
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}

function positive(bytes: Buffer): Buffer {
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes;
}

const TRUE = Buffer.from([0x01, 0x01, 0xff]);
const integer = (bytes: Buffer) => tlv(0x02, bytes);
const sequence = (...parts: readonly Buffer[]) => tlv(0x30, ...parts);
const explicit = (tag: number, content: Buffer) => tlv(0xa0 | tag, content);
const bitString = (bytes: Buffer) => tlv(0x03, Buffer.from([0]), bytes);

function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const hex = content.length.toString(16);
  const length = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content]);
}
