import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { jwtVerify } from "jose";
import forge from "node-forge";
import { openCertificate } from "../../src/credential/certificate.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { createDirectory, type Directory } from "./files.ts";
import { DAY_MS, generateRsa, type Issued, issue, NOON, pkcs8 } from "./keys.ts";

const { asn1, pki, pkcs12 } = forge;
const key = generateRsa();
const otherKey = generateRsa();
const root = issue({ key: otherKey, name: "root", authority: true });
const leaf = issue({ key, issuer: { name: "root", key: otherKey } });
const password = "correct horse – ü";
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };

let directory: Directory;
beforeEach(() => {
  directory = createDirectory();
});
afterEach(() => directory.remove());

/** As OpenSSL and Windows write it: encrypted and authenticated with the password. */
function encrypted(algorithm: "3des" | "aes128" | "aes256", passphrase: string): Buffer {
  const pfx = pkcs12.toPkcs12Asn1(
    pki.privateKeyFromPem(pkcs8(key)) as forge.pki.rsa.PrivateKey,
    [leaf.pem, root.pem].map((pem) => pki.certificateFromPem(pem)),
    passphrase,
    // As few rounds as there can be: this library takes half a second for as many as writers of such files do.
    { algorithm, count: 1 },
  );
  return derOf(pfx);
}

/** Any bags at all, neither encrypted nor authenticated (RFC 7292 §4). */
function plain(keys: readonly KeyObject[], certificates: readonly Issued[]): Buffer {
  const sequence = (...value: forge.asn1.Asn1[]) =>
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, value);
  const oid = (name: string) =>
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(pki.oids[name] ?? "").getBytes());
  const explicit = (value: forge.asn1.Asn1) =>
    asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0 as forge.asn1.Type, true, [value]);
  const octets = (bytes: string) => asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OCTETSTRING, false, bytes);
  const data = (content: forge.asn1.Asn1) =>
    sequence(oid("data"), explicit(octets(asn1.toDer(content).getBytes())));
  const bags = [
    ...keys.map((one) =>
      sequence(
        oid("keyBag"),
        explicit(asn1.fromDer(one.export({ type: "pkcs8", format: "der" }).toString("latin1"))),
      ),
    ),
    ...certificates.map(({ der }) =>
      sequence(
        oid("certBag"),
        explicit(sequence(oid("x509Certificate"), explicit(octets(der.toString("latin1"))))),
      ),
    ),
  ];
  const version = asn1.create(
    asn1.Class.UNIVERSAL,
    asn1.Type.INTEGER,
    false,
    asn1.integerToDer(3).getBytes(),
  );
  return derOf(sequence(version, data(sequence(data(sequence(...bags))))));
}

function derOf(structure: forge.asn1.Asn1): Buffer {
  return Buffer.from(asn1.toDer(structure).getBytes(), "latin1");
}

const open = (content: Buffer, passphrase?: string) =>
  openCertificate(
    {
      from: { path: directory.write("gateway.pfx", content) },
      password: passphrase === undefined ? undefined : new Secret(passphrase),
      sendChain: true,
    },
    { now: () => NOON, emit: () => {} },
  );

describe("a PKCS#12 file proves the gateway", () => {
  test.each<[string, () => Buffer, string | undefined]>([
    ["encrypted as OpenSSL 3 does it, with its password", () => encrypted("aes256", password), password],
    ["encrypted with AES-128, with its password", () => encrypted("aes128", password), password],
    ["encrypted as older tools do it, with its password", () => encrypted("3des", password), password],
    ["with the empty password, and none is set", () => encrypted("3des", ""), undefined],
    ["without any protection", () => plain([key], [root, leaf]), undefined],
    ["without protection, although a password is set", () => plain([key], [leaf, root]), password],
  ])("%s", async (_, content, passphrase) => {
    const credential = await open(content(), passphrase);
    const { authentication } = await credential.prove(request);
    if (authentication.method !== "client_assertion") throw new Error("not an assertion");
    const { protectedHeader } = await jwtVerify(
      authentication.clientAssertion.reveal(),
      createPublicKey(key),
      {
        algorithms: ["PS256"],
        currentDate: new Date(NOON),
      },
    );
    // Byte for byte, or the thumbprint would be another one than the registered.
    expect(protectedHeader.x5c).toEqual([leaf, root].map(({ der }) => der.toString("base64")));
    const thumbprint = new X509Certificate(leaf.der).fingerprint256.replaceAll(":", "");
    expect(Buffer.from(String(protectedHeader["x5t#S256"]), "base64url").toString("hex").toUpperCase()).toBe(
      thumbprint,
    );
    expect(credential.status()).toMatchObject({ state: "usable", expiresAt: NOON + 365 * DAY_MS });
  });
});

describe("a PKCS#12 file is refused with one sentence that names file, setting and remedy", () => {
  const PATH = "AZURE_CLIENT_CERTIFICATE_PATH";
  const PASSWORD = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

  test.each<[string, () => Buffer, string | undefined, string, string]>([
    [
      "a wrong password",
      () => encrypted("aes256", password),
      "wrong",
      PASSWORD,
      "this password does not open",
    ],
    [
      "no password where one is needed",
      () => encrypted("aes256", password),
      undefined,
      PASSWORD,
      "no password is set",
    ],
    [
      "several keys of other certificates",
      () => plain([otherKey, generateRsa()], [leaf]),
      undefined,
      PATH,
      "holds 2 private keys, none of which belongs",
    ],
    ["an EC key", () => plain([ec], [issue({ key: ec })]), undefined, PATH, "type EC; Entra takes"],
    ["no key", () => plain([], [leaf]), undefined, PATH, "no private key"],
    ["no certificate", () => plain([key], []), undefined, PATH, "no certificate"],
    ["a key of another certificate", () => plain([key], [root]), undefined, PATH, "belongs to none"],
    [
      "a certificate that is over",
      () => plain([key], [issue({ key, notAfter: NOON })]),
      undefined,
      PATH,
      "ended at",
    ],
    [
      "a file that is cut short",
      () => encrypted("3des", password).subarray(0, 900),
      password,
      PATH,
      "cut short",
    ],
    [
      "a binary certificate",
      () => leaf.der,
      undefined,
      PATH,
      "is a DER certificate, which holds no private key",
    ],
  ])("%s", async (_, content, passphrase, setting, problem) => {
    await expect(open(content(), passphrase)).rejects.toMatchObject({
      faults: [{ path: setting, problem: expect.stringContaining(problem) }],
    });
    await expect(open(content(), passphrase)).rejects.toThrow("gateway.pfx");
  });
});
