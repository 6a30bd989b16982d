import { execFileSync } from "node:child_process";
import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import forge from "node-forge";
import { isPkcs12, readKeyAndChain } from "../../src/credential/key-file.ts";
import { PemFault } from "../../src/credential/pem.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { generateRsaPairSync } from "../emulator/rsa-keys.ts";
import { generateRocaKey, pairOf, toBase64url } from "../support/weak-keys.ts";
import { createDirectory, type Directory } from "./files.ts";
import { DAY_MS, generateRsa, issue, NOON, pkcs8 } from "./keys.ts";

const key = generateRsa();
const rootKey = generateRsa();
const root = issue({ key: rootKey, name: "root", authority: true });
const leaf = issue({ key, issuer: { name: "root", key: rootKey } });
const PEM = pkcs8(key) + leaf.pem;
const PASSWORD = "Grüße, 鍵 🔑";
const secret = (text: string | undefined) => (text === undefined ? undefined : new Secret(text));

function pkcs12(passphrase: string): Buffer {
  const pfx = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(pkcs8(key)) as forge.pki.rsa.PrivateKey,
    [leaf.pem, root.pem].map((pem) => forge.pki.certificateFromPem(pem)),
    passphrase,
    // As few rounds as there can be: this library takes half a second for as many as writers of such files do.
    { algorithm: "aes256", count: 1 },
  );
  return Buffer.from(forge.asn1.toDer(pfx).getBytes(), "latin1");
}

const WITH_PASSWORD = pkcs12("password");
const WITHOUT_PASSWORD = pkcs12("");

async function expectKey(content: Buffer | string, passphrase?: string): Promise<void> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const { privateKey, chain } = await readKeyAndChain(bytes, secret(passphrase));
  expect(createPublicKey(privateKey).equals(createPublicKey(key))).toBe(true);
  expect(chain[0].raw.equals(leaf.der)).toBe(true);
}

async function faultOf(content: Buffer | string, passphrase?: string): Promise<PemFault> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const outcome = await readKeyAndChain(bytes, secret(passphrase)).catch((cause: unknown) => cause);
  if (outcome instanceof PemFault) return outcome;
  throw new Error("the content was accepted", { cause: outcome });
}

const utf16be = (text: string) => Buffer.from(text, "utf16le").swap16();
const wrapped = (bytes: Buffer) => bytes.toString("base64").replaceAll(/.{76}/g, "$&\r\n");

describe("a key and its certificate are read from", () => {
  test.each<[string, Buffer | string, string?]>([
    ["PEM in UTF-8 with a byte order mark", `\ufeff${PEM}`],
    ["PEM in UTF-16 LE, as Windows' editors write it", Buffer.from(`\ufeff${PEM}`, "utf16le")],
    ["PEM in UTF-16 LE without a byte order mark", Buffer.from(PEM, "utf16le")],
    ["PEM in UTF-16 BE", utf16be(`\ufeff${PEM.replaceAll("\n", "\r\n")}`)],
    ["PEM in UTF-16 BE without a byte order mark", utf16be(PEM)],
    ["PEM with Windows' line ends", PEM.replaceAll("\n", "\r\n")],
    ["PEM with the line ends of old Macs", PEM.replaceAll("\n", "\r")],
    ["PEM on one line, as a variable that lost its line ends", PEM.replaceAll("\n", " ")],
    ["PEM without any white space", PEM.replaceAll("\n", "")],
    ["PEM whose line ends became a backslash and an n", PEM.replaceAll("\n", "\\n")],
    ["PEM whose Windows line ends became backslashes", PEM.replaceAll("\n", "\\r\\n")],
    ["PEM that is indented, as in YAML", PEM.replaceAll("\n", "\n    ")],
    ["the chain before the key, the root first", root.pem + leaf.pem + pkcs8(key)],
    ["the key between the certificates", leaf.pem + pkcs8(key) + root.pem],
    [
      "an old pair beside the new one",
      pkcs8(rootKey) + issue({ key: rootKey, notAfter: NOON + DAY_MS }).pem + PEM,
    ],
    ["base64 of PEM", Buffer.from(PEM).toString("base64")],
    ["base64 of PEM with line breaks and a byte order mark", `\ufeff${wrapped(Buffer.from(PEM))}\n`],
    ["base64 of PEM in UTF-16", Buffer.from(PEM, "utf16le").toString("base64")],
    ["PKCS#12", WITH_PASSWORD, "password"],
    ["base64 of PKCS#12, as Key Vault gives it, without password", WITHOUT_PASSWORD.toString("base64")],
    ["base64 of PKCS#12 with line breaks", wrapped(WITH_PASSWORD), "password"],
    ["base64 of PKCS#12 in UTF-16", Buffer.from(`\ufeff${WITHOUT_PASSWORD.toString("base64")}`, "utf16le")],
    ["base64url of PKCS#12", WITHOUT_PASSWORD.toString("base64url")],
  ])("%s", async (...row) => {
    // Not by parameters: where a row has no password, a third one would be the callback of the test itself.
    const [, content, passphrase] = row;
    await expectKey(content, typeof passphrase === "string" ? passphrase : undefined);
  });

  test("the key whose certificate lasts longest, where two pairs are in the file", async () => {
    const older = pkcs8(key) + issue({ key, notAfter: NOON + DAY_MS }).pem;
    const newer = pkcs8(rootKey) + issue({ key: rootKey, notAfter: NOON + 90 * DAY_MS }).pem;
    for (const content of [older + newer, newer + older]) {
      const { privateKey } = await readKeyAndChain(Buffer.from(content), undefined);
      expect(createPublicKey(privateKey).equals(createPublicKey(rootKey))).toBe(true);
    }
  });
});

describe("what is no key with its certificate is named as what it is", () => {
  test.each([
    ["base64 that is too short for a key", Buffer.from([0x30, ...Array(150).fill(1)]).toString("base64")],
    ["base64 of something else", Buffer.alloc(300, 1).toString("base64")],
    ["base64 with a sign that is none", `${WITH_PASSWORD.toString("base64")}!`],
    ["base64 with a sign that is none before it", `!${WITH_PASSWORD.toString("base64")}`],
    ["base64 with too much padding", `${WITH_PASSWORD.toString("base64").replaceAll("=", "")}===`],
  ])("%s is no PKCS#12", async (_, content) => {
    expect((await faultOf(content)).message).toBe(
      "holds no PEM block (-----BEGIN …-----), no PKCS#12 and no base64 of either",
    );
  });

  test("the shortest base64 that could hold a key is opened", async () => {
    const shortest = Buffer.from([0x30, ...Array(191).fill(1)]).toString("base64");
    expect(shortest).toHaveLength(256);
    expect((await faultOf(shortest)).message).toMatch(/^is binary and cannot be read as PKCS#12/);
  });

  test("openssl has to read PKCS#12 as such, and PEM not", () => {
    expect([WITH_PASSWORD, Buffer.from(PEM)].map(isPkcs12)).toEqual([true, false]);
  });

  test.each([
    ["another version", Buffer.from([0x30, 3, 2, 1, 5])],
    ["no member", Buffer.from([0x30, 0x81, 0])],
    ["no number for a version", Buffer.from([0x30, 3, 4, 1, 3])],
  ])("a sequence with %s is no PKCS#12", async (_, content) => {
    expect((await faultOf(content)).message).toBe(
      "is binary, but not PKCS#12; export key and certificate as .pfx or PEM",
    );
  });

  test.each([
    ["-----BEGIN -----\nAA\n-----END -----", "is cut short: a PEM block has no end"],
    ["-----BEGIN X-----\nAA\n-----END Y-----", "is cut short: a PEM block has no end"],
    ["-----BEGIN X-----\nAA\n-----END X-----", "holds X, but no private key"],
    ["-----BEGIN X----------END X-----", "holds X, but no private key"],
  ])("PEM of another kind: %j", async (content, problem) => {
    expect((await faultOf(content)).message).toBe(problem);
  });

  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const spki = createPublicKey(key).export({ type: "spki", format: "pem" }).toString();
  const der = (one: KeyObject, type: "pkcs1" | "pkcs8") => one.export({ type, format: "der" });
  const encrypted = key
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "password" })
    .toString();
  const block = (label: string) => `-----BEGIN ${label}-----\nAAAA\n-----END ${label}-----\n`;

  test.each<[string, Buffer | string, RegExp]>([
    ["an empty file", "", /is empty/],
    ["a file of blanks", " \r\n\t", /is empty/],
    ["a byte order mark alone", "\ufeff", /is empty/],
    ["UTF-16 without a key", Buffer.from("\ufeffhello", "utf16le"), /UTF-16 text without a PEM block/],
    ["a public key", spki, /public key only/],
    ["a public key beside nothing else, in base64", Buffer.from(spki).toString("base64"), /public key only/],
    [
      "a PKCS#1 public key",
      createPublicKey(key).export({ type: "pkcs1", format: "pem" }).toString(),
      /public key only/,
    ],
    ["a certificate", leaf.pem, /certificate but no private key/],
    ["a key", pkcs8(key), /private key but no certificate/],
    ["a certificate request", block("CERTIFICATE REQUEST"), /certificate request/],
    ["PKCS#7", block("PKCS7"), /PKCS#7/],
    ["an OpenSSH key", block("OPENSSH PRIVATE KEY") + leaf.pem, /OpenSSH/],
    ["a PGP key", block("PGP PRIVATE KEY BLOCK"), /PGP PRIVATE KEY BLOCK, but no private key|cannot be read/],
    ["an SSH public key", "ssh-rsa AAAAB3NzaC1yc2E= me", /SSH public key/],
    ["a PuTTY key", "PuTTY-User-Key-File-3: ssh-rsa", /PuTTY/],
    ["a Java key store", Buffer.from("feedfeed00000002", "hex"), /JKS.*keytool/],
    ["an older Java key store", Buffer.from("cececece00000002", "hex"), /JCEKS/],
    ["a ZIP archive", Buffer.from("504b0304140000", "hex"), /ZIP/],
    ["a compressed file", Buffer.from("1f8b0800", "hex"), /gzip/],
    ["a page after an empty line", "\n<!DOCTYPE html>", /page/],
    [
      "a DER key of SEC 1",
      ec.export({ type: "sec1", format: "der" }),
      /DER private key without a certificate/,
    ],
    ["a page", "<!DOCTYPE html><title>Sign in</title>", /page/],
    [
      "Key Vault's JSON",
      JSON.stringify({ value: "MII…", contentType: "application/x-pkcs12" }),
      /value member/,
    ],
    ["a token", "eyJhbGciOiJSUzI1NiJ9.e30.AAAA", /token, not a key/],
    ["something else", "hello", /no PEM block.*no PKCS#12/],
    ["a DER certificate", leaf.der, /DER certificate, which holds no private key/],
    ["a DER certificate in base64", leaf.der.toString("base64"), /DER certificate/],
    ["a DER key", der(key, "pkcs8"), /DER private key without a certificate/],
    ["a DER key of PKCS#1", der(key, "pkcs1"), /DER private key without a certificate/],
    ["a DER public key", createPublicKey(key).export({ type: "spki", format: "der" }), /public key only/],
    ["an encrypted key without password", encrypted + leaf.pem, /encrypted private key, and no password/],
    ["PKCS#12 without its password", WITH_PASSWORD, /PKCS#12 file with a password, and no password is set/],
    ["PKCS#12 cut short", WITH_PASSWORD.subarray(0, 900), /cut short/],
    ["a key on a curve", pkcs8(ec) + issue({ key: ec }).pem, /type EC/],
    ["an unfinished block", PEM.slice(0, -30), /cut short/],
  ])("%s", async (_, content, sentence) => {
    expect((await faultOf(content)).message).toMatch(sentence);
  });

  test("an encrypted DER key, with its password", async () => {
    const content = key.export({
      type: "pkcs8",
      format: "der",
      cipher: "aes-256-cbc",
      passphrase: "password",
    });
    expect((await faultOf(content, "password")).message).toMatch(/encrypted DER private key/);
  });

  test("nothing of the content is repeated", async () => {
    for (const content of ["hello, canary", `{"value":"canary"}`, "eyJ.canary"])
      expect((await faultOf(content)).message).not.toContain("canary");
  });
});

describe("a weak key is refused", () => {
  const ofPair = ({ privateKey }: { privateKey: KeyObject }) =>
    pkcs8(privateKey) + issue({ key: privateKey }).pem;

  test("in ROCA form, which gives the private key away", async () => {
    expect((await faultOf(ofPair(generateRocaKey()))).message).toMatch(/ROCA/);
  });

  test("with exponent 3", async () => {
    const pair = generateRsaPairSync({ publicExponent: 3 });
    expect((await faultOf(ofPair(pair))).message).toMatch(/public exponent/);
  });

  test("and the helper that makes weak keys makes keys that sign", () => {
    const { p = "", q = "" } = key.export({ format: "jwk" });
    const integer = (text: string) => BigInt(`0x${Buffer.from(text, "base64url").toString("hex")}`);
    const pair = pairOf(integer(p), integer(q), 65_537n);
    expect(createPublicKey(pair.privateKey).equals(createPublicKey(key))).toBe(true);
    expect(toBase64url(65_537n)).toBe("AQAB");
  });
});

describe("a PKCS#12 file whose password has letters beyond ASCII", () => {
  test("opens as older writers made it: UTF-16 for everything", () => expectKey(pkcs12("Grüße"), "Grüße"));

  test("opens as OpenSSL 3 makes it: UTF-16 for its integrity, UTF-8 for its content", async () => {
    for (const digest of ["sha1", "sha256", "sha384", "sha512"] as const)
      await expectKey(likeOpenssl3(PASSWORD, { digest }), PASSWORD);
    const { aboutPassword, cause } = await faultOf(likeOpenssl3(PASSWORD), "Grusse");
    expect([aboutPassword, String(cause)]).toEqual([true, "Error: the integrity check fails"]);
    expect((await faultOf(likeOpenssl3(PASSWORD), "Grüsse")).aboutPassword).toBe(true);
  });

  test("opens where its integrity is computed in one round, and that number is left out (RFC 7292 §4)", () =>
    expectKey(likeOpenssl3(PASSWORD, { rounds: 1 }), PASSWORD));

  test("opens where its content comes in pieces", () =>
    expectKey(likeOpenssl3(PASSWORD, { pieces: true }), PASSWORD));

  test("does not open when its integrity is by a digest that is not known", async () => {
    const unknown = likeOpenssl3(PASSWORD, { oid: forge.pki.oids.md5 as string });
    expect((await faultOf(unknown, PASSWORD)).aboutPassword).toBe(true);
  });

  test("does not open when its content was changed", async () => {
    const content = likeOpenssl3(PASSWORD);
    const at = Math.floor(content.length / 2);
    content[at] = (content[at] ?? 0) ^ 1;
    expect((await faultOf(content, PASSWORD)).message).toMatch(/does not open|cannot be read/);
  });

  /** The bytes of the content encrypted with UTF-8, and the MAC of RFC 7292 appendix B over them. */
  function likeOpenssl3(
    password: string,
    {
      digest: name = "sha1",
      oid = forge.pki.oids[name] as string,
      rounds,
      pieces = false,
    }: {
      digest?: "sha1" | "sha256" | "sha384" | "sha512";
      oid?: string;
      rounds?: 1;
      pieces?: boolean;
    } = {},
  ): Buffer {
    const structure = forge.asn1.fromDer(pkcs12(Buffer.from(password).toString("latin1")).toString("latin1"));
    const members = (one: forge.asn1.Asn1 | undefined) => (Array.isArray(one?.value) ? one.value : []);
    const [, content, macData] = members(structure);
    const [digestInfo, salt, count] = members(macData);
    const [algorithm, digest] = members(digestInfo);
    const [identifier] = members(algorithm);
    const [, explicit] = members(content);
    const [octets] = members(explicit);
    const macKey = forge.pkcs12.generateKey(
      password,
      forge.util.createBuffer(salt?.value as string),
      3,
      rounds ?? forge.asn1.derToInteger(count?.value as string),
      forge.md[name].create().digestLength,
      forge.md[name].create(),
    );
    const mac = createHmac(name, Buffer.from(macKey.getBytes(), "latin1"))
      .update(Buffer.from(octets?.value as string, "latin1"))
      .digest();
    if (
      digest === undefined ||
      identifier === undefined ||
      octets === undefined ||
      macData === undefined ||
      explicit === undefined
    )
      throw new Error("not as expected");
    digest.value = mac.toString("latin1");
    identifier.value = forge.asn1.oidToDer(oid).getBytes();
    if (rounds !== undefined) macData.value = members(macData).slice(0, 2);
    if (pieces) {
      const whole = octets.value as string;
      const parts = [whole.slice(0, 100), whole.slice(100)].map((piece) =>
        forge.asn1.create(octets.tagClass, octets.type, false, piece),
      );
      explicit.value = [forge.asn1.create(octets.tagClass, octets.type, true, parts)];
    }
    return Buffer.from(forge.asn1.toDer(structure).getBytes(), "latin1");
  }
});

/** Where openssl is at hand its files are read, too; elsewhere the files above stand for them. */
const OPENSSL = (() => {
  try {
    return execFileSync("openssl", ["version"], { encoding: "utf8" }).startsWith("OpenSSL 3");
  } catch {
    return false;
  }
})();

(OPENSSL ? describe : describe.skip)("files that OpenSSL 3 wrote", () => {
  let directory: Directory;
  beforeAll(() => {
    directory = createDirectory();
    writeFileSync(`${directory.path}/key.pem`, pkcs8(key), { mode: 0o600 });
    writeFileSync(`${directory.path}/leaf.pem`, leaf.pem);
    writeFileSync(`${directory.path}/root.pem`, root.pem);
  });
  afterAll(() => directory.remove());

  function exported(password: string, ...more: string[]): Buffer {
    const inputs = ["-inkey", "key.pem", "-in", "leaf.pem", "-certfile", "root.pem"];
    execFileSync(
      "openssl",
      ["pkcs12", "-export", ...inputs, "-out", "out.pfx", "-passout", "env:PFX_PASSWORD", ...more],
      {
        cwd: directory.path,
        env: { ...process.env, PFX_PASSWORD: password, LC_ALL: "C.UTF-8" },
      },
    );
    return readFileSync(`${directory.path}/out.pfx`);
  }

  test.each<[string, string[]]>([
    ["as it does by default", []],
    ["with an integrity check by SHA-512", ["-macalg", "sha512"]],
    ["with AES-128", ["-certpbe", "AES-128-CBC", "-keypbe", "AES-128-CBC"]],
    ["with Triple DES", ["-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"]],
  ])("%s open", async (_, more) => {
    for (const password of [PASSWORD, "plain", ""]) await expectKey(exported(password, ...more), password);
  });

  test("open without password where they have none", () => expectKey(exported("")));
});

if (!OPENSSL)
  process.stdout.write("left out: files of OpenSSL 3, since no openssl of that version is on PATH\n");
