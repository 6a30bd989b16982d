/** A key and its certificate in whichever form they come: PEM, PKCS#12, base64 of either, UTF-8 or UTF-16. */

import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { parseJsonObject } from "../foundation/json.ts";
import type { Secret } from "../foundation/secret.ts";
import { decodeText, isUtf16 } from "../foundation/text.ts";
import { type KeyAndChain, PemFault, readPem } from "./pem.ts";

/** ASN.1 SEQUENCE, X.690 §8.9: how PKCS#12 and other DER files begin; no PEM text does. */
const DER_SEQUENCE = 0x30;

/** Base64 (RFC 4648 §4 or §5) with line breaks; anything shorter holds no key. */
const BASE64 = /^[A-Za-z0-9+/_-]{256,}={0,2}$/;

/**
 * Reads what operators have: files of openssl and of Windows, what Key Vault's download and its CSI driver give (PKCS#12
 * in base64), and text that went through a variable or an editor.
 *
 * @throws {PemFault} when there is no key with its certificate that will do; it names what is there instead.
 */
export async function readKeyAndChain(content: Buffer, password: Secret | undefined): Promise<KeyAndChain> {
  const bytes = unwrap(content);
  if (isDer(bytes)) {
    const problem = problemOfDer(bytes, password);
    if (problem !== undefined) throw new PemFault(problem);
    // Loaded when there is such a file: its library takes ten megabytes.
    const { pemOfPkcs12 } = await import("./pkcs12.ts");
    return readPem(pemOfPkcs12(bytes, password), undefined);
  }
  const text = decodeText(bytes);
  if (!text.includes("-----BEGIN ")) throw new PemFault(problemOfText(content, text));
  return readPem(text, password);
}

/** Whether openssl has to read it as PKCS#12, not as PEM, for commands that the doctor proposes. */
export function isPkcs12(content: Buffer): boolean {
  return isDer(content);
}

/** The content, or what its base64 stands for. */
function unwrap(content: Buffer): Buffer {
  if (isDer(content)) return content;
  const packed = decodeText(content).replaceAll(/\s/g, "");
  if (!BASE64.test(packed)) return content;
  const bytes = Buffer.from(packed, "base64");
  return isDer(bytes) || decodeText(bytes).includes("-----BEGIN ") ? bytes : content;
}

function isDer(bytes: Buffer): boolean {
  // UTF-16 of the digit zero begins with the same byte.
  return bytes[0] === DER_SEQUENCE && !isUtf16(bytes);
}

/** What a DER file is when it is not PKCS#12. Undefined also where only PKCS#12's reader can say what is wrong. */
function problemOfDer(bytes: Buffer, password: Secret | undefined): string | undefined {
  if (succeeds(() => new X509Certificate(bytes)))
    return "is a DER certificate, which holds no private key; export both as .pfx or PEM";
  for (const type of ["pkcs8", "pkcs1", "sec1"] as const)
    if (succeeds(() => createPrivateKey({ key: bytes, format: "der", type })))
      return "is a DER private key without a certificate; put both into one PEM or PKCS#12 file";
  if (succeeds(() => createPublicKey({ key: bytes, format: "der", type: "spki" })))
    return "holds a public key only; the private key and its certificate are needed";
  const passphrase = password?.reveal();
  if (
    passphrase !== undefined &&
    succeeds(() => createPrivateKey({ key: bytes, format: "der", type: "pkcs8", passphrase }))
  )
    return "is an encrypted DER private key without a certificate; put both into one PEM or PKCS#12 file";
  return undefined;
}

function succeeds(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}

const KEY_STORE = "convert it with keytool -importkeystore -deststoretype pkcs12";

/** How formats begin that hold keys elsewhere, or hold none; bytes as Latin-1. */
const FOREIGN: readonly (readonly [beginning: string, problem: string])[] = [
  ["\u00fe\u00ed\u00fe\u00ed", `is a Java key store (JKS); ${KEY_STORE}`],
  ["\u00ce\u00ce\u00ce\u00ce", `is a Java key store (JCEKS); ${KEY_STORE}`],
  ["PuTTY-User-Key-File", "is a PuTTY key, which has no certificate"],
  ["ssh-", "is an SSH public key; the private key and its certificate are needed"],
  ["ecdsa-sha2-", "is an SSH public key; the private key and its certificate are needed"],
  ["PK\u0003\u0004", "is a ZIP archive; unpack it"],
  ["\u001f\u008b", "is compressed with gzip; unpack it"],
  ["<", "is a page or an XML document, not a key file; how was it downloaded?"],
  ["eyJ", "holds a token, not a key; AZURE_FEDERATED_TOKEN_FILE is the setting for tokens"],
];

function problemOfText(content: Buffer, text: string): string {
  if (text.trim() === "") return "is empty";
  const start = content.toString("latin1").trimStart();
  const foreign = FOREIGN.find(([beginning]) => start.startsWith(beginning))?.[1];
  if (foreign !== undefined) return foreign;
  if (parseJsonObject(text) !== undefined)
    return "is a JSON document; where it is a secret of Key Vault, its value member is what belongs into the file";
  return isUtf16(content)
    ? "is UTF-16 text without a PEM block (-----BEGIN …-----)"
    : "holds no PEM block (-----BEGIN …-----), no PKCS#12 and no base64 of either";
}
