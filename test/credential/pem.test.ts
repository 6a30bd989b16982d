import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { PemFault, readPem } from "../../src/credential/pem.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { DAY_MS, generateRsa, issue, NOON, pkcs8 } from "./keys.ts";

const key = generateRsa();
const otherKey = generateRsa();
const leaf = issue({ key });
const password = "correct horse";

const pkcs1 = key.export({ type: "pkcs1", format: "pem" }).toString();
const encryptedPkcs8 = key
  .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: password })
  .toString();
const encryptedPkcs1 = key
  .export({ type: "pkcs1", format: "pem", cipher: "aes-256-cbc", passphrase: password })
  .toString();

function read(text: string | Buffer, passphrase?: string) {
  return readPem(text.toString("latin1"), passphrase === undefined ? undefined : new Secret(passphrase));
}

function faultOf(text: string | Buffer, passphrase?: string): PemFault {
  try {
    read(text, passphrase);
  } catch (cause) {
    if (cause instanceof PemFault) return cause;
    throw cause;
  }
  throw new Error("the text was accepted");
}

function expectLeaf({ privateKey, chain }: ReturnType<typeof read>, expected: KeyObject, der: Buffer) {
  expect(createPublicKey(privateKey).equals(createPublicKey(expected))).toBe(true);
  expect(chain[0].raw.equals(der)).toBe(true);
}

describe("key and certificate are read", () => {
  test.each([
    ["from a PKCS#8 key before the certificate", pkcs8(key) + leaf.pem, undefined],
    ["from a certificate before the key", leaf.pem + pkcs8(key), undefined],
    ["from a PKCS#1 key", pkcs1 + leaf.pem, undefined],
    ["from an encrypted PKCS#8 key with its password", encryptedPkcs8 + leaf.pem, password],
    ["from a PKCS#1 key that OpenSSL encrypted, with its password", encryptedPkcs1 + leaf.pem, password],
    ["although a password is set that a plain key does not need", pkcs8(key) + leaf.pem, "unneeded"],
    [
      "from an encrypted PKCS#1 key whose line ends became a backslash and an n",
      (encryptedPkcs1 + leaf.pem).replaceAll("\n", "\\n"),
      password,
    ],
    [
      "from an encrypted PKCS#1 key whose Windows line ends became backslashes",
      (encryptedPkcs1 + leaf.pem).replaceAll("\n", "\\r\\n"),
      password,
    ],
    [
      "from a certificate with OpenSSL's older label",
      pkcs8(key) + leaf.pem.replaceAll("CERTIFICATE", "X509 CERTIFICATE"),
      undefined,
    ],
    ["with Windows line ends", (pkcs8(key) + leaf.pem).replaceAll("\n", "\r\n"), undefined],
    [
      "with openssl's bag attributes between them",
      `Bag Attributes\n    localKeyID: 01\n${leaf.pem}subject=CN\n${pkcs8(key)}`,
      undefined,
    ],
  ])("%s", (_, text, passphrase) => {
    expectLeaf(read(text, passphrase), key, leaf.der);
  });
});

describe("the chain", () => {
  const root = issue({ key: otherKey, name: "root", authority: true });
  const intermediateKey = generateRsa();
  const intermediate = issue({
    key: intermediateKey,
    name: "intermediate",
    issuer: { name: "root", key: otherKey },
    authority: true,
  });
  const issued = issue({ key, issuer: { name: "intermediate", key: intermediateKey } });

  test("starts with the key's certificate and follows its issuers, whatever the order in the file", () => {
    const { chain } = read(root.pem + pkcs8(key) + intermediate.pem + issued.pem);
    expect(chain.map(({ raw }) => raw.toString("base64"))).toEqual(
      [issued, intermediate, root].map(({ der }) => der.toString("base64")),
    );
  });

  test("leaves out certificates that do not belong to it", () => {
    const stranger = issue({ key: generateRsa(), name: "stranger" });
    // Same name as the real issuer, another key.
    const impostor = issue({ key: generateRsa(), name: "intermediate", authority: true });
    const { chain } = read(stranger.pem + impostor.pem + issued.pem + intermediate.pem + pkcs8(key));
    expect(chain.map(({ subject }) => subject)).toEqual(["CN=obo-gateway", "CN=intermediate"]);
    expect(chain[1]?.raw.equals(intermediate.der)).toBe(true);
  });

  test("starts with the newest of several certificates for the key", () => {
    const renewed = issue({ key, notAfter: NOON + 700 * DAY_MS });
    expectLeaf(read(leaf.pem + renewed.pem + pkcs8(key)), key, renewed.der);
    expectLeaf(read(renewed.pem + leaf.pem + pkcs8(key)), key, renewed.der);
  });
});

describe("a file is refused with one sentence about it", () => {
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const short = generateRsa(1024);
  const cut = pkcs8(key).slice(0, 400);
  test.each([
    ["a certificate without its key", leaf.pem, undefined, "no private key"],
    ["a key without its certificate", pkcs8(key), undefined, "no certificate"],
    [
      "a certificate beside a public key",
      createPublicKey(key).export({ type: "spki", format: "pem" }) + leaf.pem,
      undefined,
      "certificate but no private key",
    ],
    ["a key that is too short for any certificate", pkcs8(short) + leaf.pem, undefined, "1024 bits"],
    ["a key that belongs to another certificate", pkcs8(otherKey) + leaf.pem, undefined, "belongs to none"],
    [
      "two keys of other certificates",
      pkcs8(otherKey) + pkcs8(generateRsa()) + leaf.pem,
      undefined,
      "2 private keys",
    ],
    ["an EC key", pkcs8(ec) + issue({ key: ec }).pem, undefined, "type EC"],
    ["an RSA key that is too short", pkcs8(short) + issue({ key: short }).pem, undefined, "1024 bits"],
    ["an encrypted key and no password", encryptedPkcs8 + leaf.pem, undefined, "no password is set"],
    ["an encrypted key and a wrong password", encryptedPkcs8 + leaf.pem, "wrong", "does not open"],
    ["an encrypted PKCS#1 key and no password", encryptedPkcs1 + leaf.pem, undefined, "no password is set"],
    ["an encrypted PKCS#1 key and a wrong password", encryptedPkcs1 + leaf.pem, "wrong", "does not open"],
    ["text without PEM", "hello", undefined, "no PEM block"],
    ["a file that ends inside the key", leaf.pem + cut, undefined, "cut short"],
    [
      "a damaged key",
      pkcs8(key).replace(/\n[^\n]{20}/, "\n") + leaf.pem,
      undefined,
      "key that cannot be read",
    ],
    [
      "a damaged certificate",
      pkcs8(key) + leaf.pem.replace(/\n[^\n]{20}/, "\n"),
      undefined,
      "certificate (number 1)",
    ],
  ])("%s", (_, text, passphrase, expected) => {
    expect(faultOf(text, passphrase).message).toContain(expected);
  });

  test.each([
    ["a key", pkcs8(key).replace(/\n[^\n]{20}/, "\n") + leaf.pem, undefined],
    ["an encrypted key", encryptedPkcs8 + leaf.pem, "wrong"],
    ["a certificate", pkcs8(key) + leaf.pem.replace(/\n[^\n]{20}/, "\n"), undefined],
  ])("%s that cannot be read is refused with OpenSSL's reason as the cause", (_, text, passphrase) => {
    const { name, cause } = faultOf(text, passphrase);
    expect([name, String(cause)]).toEqual(["PemFault", expect.stringContaining("rror:")]);
  });

  test.each([
    ["a missing password", undefined, true],
    ["a wrong password", "wrong", true],
  ])("%s is a fault of the password setting", (_, passphrase, aboutPassword) => {
    expect(faultOf(encryptedPkcs8 + leaf.pem, passphrase).aboutPassword).toBe(aboutPassword);
    expect(faultOf(leaf.pem, passphrase).aboutPassword).toBe(false);
  });
});
