/** Hostile and odd Authorization headers, each as a sentence with the verdict that it must get. */

import { constants, createHash, createHmac, generateKeyPairSync, sign as signBytes } from "node:crypto";
import type { RejectionReason } from "../../src/identity/rejection.ts";
import { generateRsaPairSync } from "../emulator/rsa-keys.ts";
import { generateRocaKey } from "../support/weak-keys.ts";
import {
  API,
  CLIENT,
  encode,
  generateKey,
  type Json,
  jwkOf,
  OTHER_TENANT,
  sign,
  TENANT,
  type TestKey,
  USER,
  userClaims,
  v1Claims,
} from "./fake-authority.ts";

export type Verdict = "user" | "app" | "missing" | RejectionReason;

export interface Attack {
  readonly sentence: string;
  readonly verdict: Verdict;
  readonly authorization: readonly string[];
}

const key = generateKey("key-1");
const secondKey = generateKey("key-2");
/** A key that nobody published. */
const stranger = generateKey("key-1");
const otherCloudKey = generateKey("key-of-us-government");
const otherTenantKey = generateKey("key-of-another-tenant");
const encryptionKey = generateKey("key-for-encryption");
const weakKey = generateKey("key-of-1024-bits", 1024);
const rocaKey: TestKey = { kid: "key-of-roca-form", ...generateRocaKey() };
const cubicKey: TestKey = {
  kid: "key-with-exponent-3",
  ...generateRsaPairSync({ publicExponent: 3 }),
};
const otherAlgorithmKey = generateKey("key-for-rs512");
const elliptic = generateKeyPairSync("ec", { namedCurve: "P-256" });

const V2_ISSUER = `https://login.microsoftonline.com/${TENANT}/v2.0`;

/** What the authority publishes while the table is run. */
export const PUBLISHED: unknown[] = [
  jwkOf(key, {
    issuer: "https://login.microsoftonline.com/{tenantid}/v2.0",
    cloud_instance_name: "microsoftonline.com",
  }),
  jwkOf(secondKey),
  jwkOf(otherCloudKey, { cloud_instance_name: "microsoftonline.us" }),
  jwkOf(otherTenantKey, { issuer: `https://login.microsoftonline.com/${OTHER_TENANT}/v2.0` }),
  jwkOf(encryptionKey, { use: "enc" }),
  jwkOf(weakKey),
  jwkOf(rocaKey),
  jwkOf(cubicKey),
  { ...jwkOf(stranger), kid: "key-with-exponent-1", e: "AQ" },
  { ...jwkOf(stranger), kid: "key-with-even-exponent", e: "AQAA" },
  jwkOf(otherAlgorithmKey, { alg: "RS512" }),
  { ...elliptic.publicKey.export({ format: "jwk" }), use: "sig", kid: "key-elliptic" },
  { kty: "oct", k: encode("shared secret"), use: "sig", kid: "key-symmetric" },
  { kty: "RSA", kid: "key-broken", use: "sig", n: "!", e: "AQAB" },
  null,
  "not a key",
];

const now = Math.floor(Date.now() / 1000);
const good = sign(key, userClaims());
const [goodHeader = "", goodPayload = "", goodSignature = ""] = good.split(".");

const attacks: Attack[] = [];
const row = (verdict: Verdict, sentence: string, ...authorization: readonly string[]) =>
  attacks.push({ verdict, sentence, authorization });
const token = (verdict: Verdict, sentence: string, value: string) =>
  row(verdict, sentence, `Bearer ${value}`);
/** An ordinary token, properly signed, apart from these claims and header members. */
const signed = (verdict: Verdict, sentence: string, claims: Json, header: Json = {}) =>
  token(verdict, sentence, sign(key, userClaims(claims), header));
/** Properly signed, whatever the JSON says. */
const raw = (verdict: Verdict, sentence: string, payload: string, header?: unknown) =>
  token(verdict, sentence, sign(key, payload, header));

// Accepted, because it is genuine and only looks odd
row("user", "an ordinary token", `Bearer ${good}`);
row("user", "the scheme in lower case", `bearer ${good}`);
row("user", "the scheme in upper case", `BEARER ${good}`);
row("user", "the scheme in mixed case", `bEaReR ${good}`);
row("user", "a trailing blank", `Bearer ${good} `);
row("user", "a trailing tab", `Bearer ${good}\t`);
row("user", "leading blanks", `  Bearer ${good}`);
signed("user", "an x5t of nobody beside a valid kid", {}, { x5t: "AAAAAAAAAAAAAAAAAAAAAAAAAAA" });
signed("user", "a jku that is never followed, beside a valid kid", {}, { jku: "https://evil.test/keys" });
signed("user", "a cty that says nothing new", {}, { cty: "JWT" });
token("user", "the second published key, which states no issuer", sign(secondKey, userClaims()));
token("user", "version 1.0 with its own issuer and client claim", sign(key, v1Claims()));
signed("user", "claims of continuous access evaluation", {
  xms_cc: ["cp1"],
  xms_ssm: "1",
  exp: now + 28 * 3600,
});
signed("user", "a single capability as a string", { xms_cc: "CP1" });
signed("user", "roles, groups and authentication contexts", {
  roles: ["R"],
  groups: [USER],
  acrs: ["c1"],
  wids: [USER],
});
signed("user", "groups that are to be read elsewhere", {
  _claim_names: { groups: "src1" },
  _claim_sources: {},
});
signed("user", "an idtyp that says user", { idtyp: "user" });
signed("user", "several scopes", { scp: "one two  three" });
signed("user", "a tenant id in upper case", { tid: TENANT.toUpperCase() });
signed("user", "names in other scripts", { name: "Zoë 🦉 王" });
signed("user", "unknown claims of any type", { xms_new: [{ a: null }], xms_flag: false });
signed("user", "not before 30 seconds from now", { nbf: now + 30 });
signed("user", "issued 30 seconds from now", { iat: now + 30 });
signed("user", "200 groups and 15 KB", {
  groups: Array.from({ length: 200 }, (_, n) => `66666666-ffff-4fff-8fff-${String(n).padStart(12, "0")}`),
  xms_filler: "f".repeat(2_800),
});
signed("user", "close to 24 KiB", { xms_filler: "f".repeat(17_200) });
signed("user", "a claim nested a thousand levels deep", { xms_deep: nested(1_000) });
raw("user", "a claim stated twice, the last one right", objectText(userClaims(), '"aud":"other",', "first"));
raw("user", "a claim named __proto__", objectText(userClaims(), '"__proto__":{"scp":"admin"},', "first"));
raw(
  "user",
  "claims named constructor and toString",
  objectText(userClaims(), '"constructor":1,"toString":2,', "first"),
);
raw("user", "pretty-printed JSON", JSON.stringify(userClaims(), undefined, 2));
raw("user", "claim names written with escapes", JSON.stringify(userClaims()).replace('"aud"', '"\\u0061ud"'));
raw(
  "user",
  "a header stated alg twice, the last one RS256",
  JSON.stringify(userClaims()),
  '{"alg":"none","alg":"RS256","typ":"JWT","kid":"key-1"}',
);
signed("app", "an application's own token", { scp: undefined, oid: USER, sub: USER, roles: ["Read.All"] });
signed("app", "an application's own token that says so", { scp: undefined, idtyp: "app", sub: USER });
token("app", "an application's own v1 token", sign(key, v1Claims({ scp: undefined, sub: USER })));

// No bearer credentials: told how to authenticate
row("missing", "no Authorization header");
row("missing", "an empty header", "");
row("missing", "a header of blanks", "   ");
row("missing", "Basic credentials", "Basic dXNlcjpwYXNz");
row("missing", "a good token under the Basic scheme", `Basic ${good}`);
row("missing", "a Digest", 'Digest username="x"');
row("missing", "a Negotiate token", "Negotiate YII=");
row("missing", "an invented scheme", `Token ${good}`);
row("missing", "a good token without a scheme", good);
row("missing", "a scheme that only starts like Bearer", `Bearertoken ${good}`);
row("missing", "a scheme that continues with a dash", `Bearer-x ${good}`);
row("missing", "full-width letters as scheme", `\uff22earer ${good}`);
row("missing", "Basic first in a comma list", `Basic dXNlcjpwYXNz, Bearer ${good}`);

// Not the grammar of RFC 6750
row("malformed", "the scheme alone", "Bearer");
row("malformed", "the scheme and a blank", "Bearer ");
row("user", "two blanks before the token", `Bearer  ${good}`);
row("user", "many blanks before the token", `Bearer${" ".repeat(64)}${good}`);
row("malformed", "a blank and a tab before the token", `Bearer \t${good}`);
row("malformed", "a tab and a blank before the token", `Bearer\t ${good}`);
row("malformed", "a tab before the token", `Bearer\t${good}`);
row("malformed", "a no-break space before the token", `Bearer\u00a0${good}`);
row("malformed", "a no-break space after the token", `Bearer ${good}\u00a0`);
row("malformed", "an equals sign for the blank", `Bearer=${good}`);
row("malformed", "a colon for the blank", `Bearer:${good}`);
row("malformed", "a word after the token", `Bearer ${good} extra`);
row("malformed", "a comma list of two tokens", `Bearer ${good}, Bearer ${good}`);
row("malformed", "a comma list with another scheme", `Bearer ${good}, Basic dXNlcjpwYXNz`);
row("malformed", "a trailing comma", `Bearer ${good},`);
row("malformed", "quotes around the token", `Bearer "${good}"`);
row("malformed", "angle brackets around the token", `Bearer <${good}>`);
row("malformed", "the token as a parameter", `Bearer access_token=${good}`);
row("malformed", "a percent-encoded dot", `Bearer ${good.replace(".", "%2E")}`);
row("malformed", "a NUL in the token", `Bearer ${good.slice(0, 40)}\0${good.slice(40)}`);
row("malformed", "a line break in the token", `Bearer ${good.slice(0, 40)}\r\n${good.slice(40)}`);
row("malformed", "a letter outside ASCII", `Bearer ${good.slice(0, 40)}é${good.slice(40)}`);
row("malformed", "a zero-width space in the token", `Bearer ${good.slice(0, 40)}\u200b${good.slice(40)}`);
row("malformed", "24 KiB of blanks inside", `Bearer a${" ".repeat(24_000)}b`);
row("several_headers", "two headers with the same token", `Bearer ${good}`, `Bearer ${good}`);
row("several_headers", "a good header before a bad one", `Bearer ${good}`, "Bearer x.y.z");
row("several_headers", "a bad header before a good one", "Bearer x.y.z", `Bearer ${good}`);
row("several_headers", "Basic before Bearer", "Basic dXNlcjpwYXNz", `Bearer ${good}`);
row("several_headers", "an empty header before a good one", "", `Bearer ${good}`);

// Not a compact JWT
token("malformed", "an opaque token", "0123456789abcdef0123456789abcdef");
token("malformed", "two parts", `${goodHeader}.${goodPayload}`);
token("malformed", "four parts", `${good}.${goodSignature}`);
token(
  "malformed",
  "an encrypted token of five parts",
  `${encode({ alg: "RSA-OAEP", enc: "A256GCM" })}.a2V5.aXY.dGV4dA.dGFn`,
);
for (const bits of [1, 2, 4, 8])
  token(
    "malformed",
    `unused bits ${bits} of the last signature character set`,
    good.slice(0, -1) + sibling(good.slice(-1), bits),
  );
token(
  "malformed",
  "unused bits of the header's last character set",
  respelt(`${'{"typ":"JWT","alg":"RS256","kid":"key-1"'} }`, 0),
);
token(
  "malformed",
  "unused bits of the payload's last character set",
  respelt(JSON.stringify(userClaims()), 1),
);
token("malformed", "only dots", "..");
token("malformed", "an empty header part", `.${goodPayload}.${goodSignature}`);
token("malformed", "a detached payload", `${goodHeader}..${goodSignature}`);
token("malformed", "an empty signature", `${goodHeader}.${goodPayload}.`);
token("malformed", "padding on the signature", `${good}==`);
token("malformed", "padding on the payload", `${goodHeader}.${goodPayload}=.${goodSignature}`);
token(
  "malformed",
  "the standard base64 alphabet",
  `${goodHeader}.${goodPayload}.+/${goodSignature.slice(2)}`,
);
token(
  "malformed",
  "a part of impossible length",
  `${goodHeader}.${goodPayload}.${goodSignature.slice(0, 341)}`,
);
token(
  "malformed",
  "a tilde, which RFC 6750 allows and JWT does not",
  `${goodHeader}~.${goodPayload}.${goodSignature}`,
);
token(
  "malformed",
  "JSON serialisation in place of compact",
  encode(JSON.stringify({ payload: goodPayload })),
);
raw("malformed", "a header that is not JSON", "{}", "not json");
raw("malformed", "a header that is null", "{}", "null");
raw("malformed", "a header that is an array", "{}", "[]");
raw("malformed", "a header that is a string", "{}", '"RS256"');
raw("malformed", "a header that is a number", "{}", "1");
raw("malformed", "a header with text after it", "{}", '{"alg":"RS256","typ":"JWT","kid":"key-1"}{}');
raw(
  "malformed",
  "a header that starts with a byte order mark",
  "{}",
  '\ufeff{"alg":"RS256","typ":"JWT","kid":"key-1"}',
);
raw("malformed", "a header cut short", "{}", '{"alg":"RS256"');
raw("malformed", "a payload that is not JSON", "secret text that must not be logged");
raw("malformed", "a payload that is null", "null");
raw("malformed", "a payload that is an array", "[]");
raw("malformed", "a payload that is a string", '"claims"');
raw("malformed", "a payload that is a number", "42");
raw("malformed", "a payload that is empty JSON text", " ");
raw("malformed", "a payload with a trailing comma", '{"a":1,}');
raw("malformed", "a payload that is nothing but brackets", "[".repeat(15_000));
raw("malformed", "a token inside a token", good, { alg: "RS256", typ: "JWT", cty: "JWT", kid: "key-1" });
token(
  "malformed",
  "a payload that is not UTF-8",
  signParts(
    encode({ alg: "RS256", typ: "JWT", kid: "key-1" }),
    Buffer.from(JSON.stringify(userClaims({ name: "Zoë" })), "latin1").toString("base64url"),
  ),
);
token(
  "malformed",
  "a header that is not UTF-8",
  signParts(
    Buffer.from('{"alg":"RS256","typ":"JWT","kid":"key-1","x":"ë"}', "latin1").toString("base64url"),
    goodPayload,
  ),
);
token("malformed", "24 KiB of one letter", "A".repeat(24 * 1024));
token("too_large", "one byte more than 24 KiB", "A".repeat(24 * 1024 + 1));
signed("too_large", "a genuine token of more than 24 KiB", { xms_filler: "f".repeat(18_500) });
token("too_large", "a megabyte", "A".repeat(2 ** 20));

// Algorithm
for (const alg of ["none", "None", "NONE", "nOnE"])
  token(
    "algorithm",
    `alg ${alg} with somebody's signature`,
    `${encode({ alg, typ: "JWT", kid: "key-1" })}.${goodPayload}.${goodSignature}`,
  );
token("malformed", "alg none without a signature", `${encode({ alg: "none", typ: "JWT" })}.${goodPayload}.`);
token(
  "algorithm",
  "HS256 keyed with the public key as SPKI PEM",
  hmac("HS256", key.publicKey.export({ type: "spki", format: "pem" })),
);
token(
  "algorithm",
  "HS256 keyed with the public key as PKCS #1 PEM",
  hmac("HS256", key.publicKey.export({ type: "pkcs1", format: "pem" })),
);
token(
  "algorithm",
  "HS256 keyed with the public key as DER",
  hmac("HS256", key.publicKey.export({ type: "spki", format: "der" })),
);
token("algorithm", "HS256 keyed with the published JWK", hmac("HS256", JSON.stringify(jwkOf(key))));
token("algorithm", "HS256 keyed with nothing", hmac("HS256", ""));
token(
  "algorithm",
  "HS384 keyed with the public key",
  hmac("HS384", key.publicKey.export({ type: "spki", format: "pem" })),
);
token(
  "algorithm",
  "HS256 with a symmetric key that the set happens to hold",
  hmac("HS256", "shared secret", "key-symmetric"),
);
token("algorithm", "RS384, truly signed", rsa("RS384", "sha384"));
token("algorithm", "RS512, truly signed", rsa("RS512", "sha512"));
token("algorithm", "RS1, truly signed", rsa("RS1", "sha1"));
token("algorithm", "PS256, truly signed", rsa("PS256", "sha256", constants.RSA_PKCS1_PSS_PADDING));
token("algorithm", "PS512, truly signed", rsa("PS512", "sha512", constants.RSA_PKCS1_PSS_PADDING));
token("algorithm", "ES256, truly signed by a published elliptic key", es256());
signed("algorithm", "alg missing", {}, { alg: undefined });
signed("algorithm", "alg null", {}, { alg: null });
signed("algorithm", "alg in lower case", {}, { alg: "rs256" });
signed("algorithm", "alg with a trailing blank", {}, { alg: "RS256 " });
signed("algorithm", "alg with a NUL", {}, { alg: "RS256\0" });
signed("algorithm", "alg as an array", {}, { alg: ["RS256"] });
signed("algorithm", "alg as an object", {}, { alg: { toString: "RS256" } });
signed("algorithm", "alg as a number", {}, { alg: 256 });
signed("algorithm", "alg of an encrypted token in three parts", {}, { alg: "RSA-OAEP", enc: "A256GCM" });
raw(
  "algorithm",
  "alg stated twice, the last one none",
  JSON.stringify(userClaims()),
  '{"alg":"RS256","alg":"none","typ":"JWT","kid":"key-1"}',
);
raw(
  "algorithm",
  "alg hidden under __proto__",
  JSON.stringify(userClaims()),
  '{"__proto__":{"alg":"RS256"},"typ":"JWT","kid":"key-1"}',
);

// Signature
token(
  "signature",
  "one letter of the payload altered",
  `${goodHeader}.${encode(userClaims({ name: "Canary Nbme" }))}.${goodSignature}`,
);
token(
  "signature",
  "the scope raised after signing",
  `${goodHeader}.${encode(userClaims({ scp: "access_as_user admin" }))}.${goodSignature}`,
);
token(
  "signature",
  "a header member added after signing",
  `${encode({ typ: "JWT", alg: "RS256", kid: "key-1", x: 1 })}.${goodPayload}.${goodSignature}`,
);
token(
  "signature",
  "the header's members in another order",
  `${encode({ kid: "key-1", alg: "RS256", typ: "JWT" })}.${goodPayload}.${goodSignature}`,
);
token(
  "signature",
  "the signature cut by one byte",
  `${goodHeader}.${goodPayload}.${Buffer.from(goodSignature, "base64url").subarray(0, 255).toString("base64url")}`,
);
token(
  "signature",
  "the signature longer by one byte",
  `${goodHeader}.${goodPayload}.${Buffer.concat([Buffer.from(goodSignature, "base64url"), Buffer.alloc(1)]).toString("base64url")}`,
);
token(
  "signature",
  "a leading zero byte before the signature",
  `${goodHeader}.${goodPayload}.${Buffer.concat([Buffer.alloc(1), Buffer.from(goodSignature, "base64url")]).toString("base64url")}`,
);
token(
  "signature",
  "a signature of zeros",
  `${goodHeader}.${goodPayload}.${Buffer.alloc(256).toString("base64url")}`,
);
token(
  "signature",
  "a signature of ones",
  `${goodHeader}.${goodPayload}.${Buffer.alloc(256, 0xff).toString("base64url")}`,
);
token(
  "signature",
  "a signature of the number one",
  `${goodHeader}.${goodPayload}.${Buffer.concat([Buffer.alloc(255), Buffer.from([1])]).toString("base64url")}`,
);
token("signature", "a signature of one byte", `${goodHeader}.${goodPayload}.AA`);
token(
  "signature",
  "the signature of another genuine token",
  `${goodHeader}.${goodPayload}.${sign(key, userClaims({ name: "other" })).split(".")[2]}`,
);
token(
  "signature",
  "SHA-1 inside, RS256 outside",
  `${goodHeader}.${goodPayload}.${signBytes("sha1", Buffer.from(`${goodHeader}.${goodPayload}`), key.privateKey).toString("base64url")}`,
);
token(
  "signature",
  "PSS inside, RS256 outside",
  `${goodHeader}.${goodPayload}.${signBytes("sha256", Buffer.from(`${goodHeader}.${goodPayload}`), { key: key.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING }).toString("base64url")}`,
);
token("signature", "a stranger's signature under a published kid", sign(stranger, userClaims()));
token(
  "signature",
  "one published key's signature under another's kid",
  sign(key, userClaims(), { kid: "key-2" }),
);
token(
  "signature",
  "a stranger's key embedded as jwk under a published kid",
  sign(stranger, userClaims(), { jwk: jwkOf(stranger) }),
);
token(
  "signature",
  "a stranger's certificate in x5c under a published kid",
  sign(stranger, userClaims(), {
    x5c: [stranger.publicKey.export({ type: "spki", format: "der" }).toString("base64")],
  }),
);

// Key selection
token("unknown_key", "a kid that nobody published", sign(stranger, userClaims(), { kid: "key-9" }));
token(
  "unknown_key",
  "an unknown kid beside a known x5t",
  sign(key, userClaims(), { kid: "key-9", x5t: "key-1" }),
);
token(
  "unknown_key",
  "a key embedded as jwk",
  sign(stranger, userClaims(), { kid: "mine", jwk: jwkOf(stranger) }),
);
token(
  "unknown_key",
  "a key behind jku",
  sign(stranger, userClaims(), { kid: "mine", jku: "https://evil.test/keys" }),
);
token(
  "unknown_key",
  "a key behind jku at the real authority's host name",
  sign(stranger, userClaims(), { kid: "mine", jku: "https://login.microsoftonline.com@evil.test/keys" }),
);
token(
  "unknown_key",
  "a certificate behind x5u",
  sign(stranger, userClaims(), { kid: "mine", x5u: "https://evil.test/cert" }),
);
token("unknown_key", "a certificate in x5c", sign(stranger, userClaims(), { kid: "mine", x5c: ["MIIB"] }));
signed("unknown_key", "kid missing", {}, { kid: undefined });
signed("unknown_key", "kid missing, x5t known", {}, { kid: undefined, x5t: "key-1" });
signed("unknown_key", "kid null", {}, { kid: null });
signed("unknown_key", "kid empty", {}, { kid: "" });
signed("unknown_key", "kid a number", {}, { kid: 1 });
signed("unknown_key", "kid an array", {}, { kid: ["key-1"] });
signed("unknown_key", "kid an object", {}, { kid: { toString: "key-1" } });
for (const kid of ["__proto__", "constructor", "toString", "hasOwnProperty", "size"])
  signed("unknown_key", `kid ${kid}`, {}, { kid });
signed("unknown_key", "kid in upper case", {}, { kid: "KEY-1" });
signed("unknown_key", "kid with a trailing blank", {}, { kid: "key-1 " });
signed("unknown_key", "kid with a NUL", {}, { kid: "key-1\0" });
signed("unknown_key", "kid that is a path", {}, { kid: "../../../../dev/null" });
signed("unknown_key", "kid that is a query", {}, { kid: "x' UNION SELECT 'secret" });
signed("unknown_key", "kid of 10 KB", {}, { kid: "k".repeat(10_000) });
token("unknown_key", "a published key of 1024 bits", sign(weakKey, userClaims()));
token("unknown_key", "a published key of ROCA form", sign(rocaKey, userClaims()));
token("unknown_key", "a published key with exponent 3", sign(cubicKey, userClaims()));
token("unknown_key", "a published key with exponent 1, which anybody can sign for", signedByNobody());
signed("unknown_key", "a published key with an even exponent", {}, { kid: "key-with-even-exponent" });
token("unknown_key", "a published key for encryption", sign(encryptionKey, userClaims()));
token("unknown_key", "a published key for another algorithm", sign(otherAlgorithmKey, userClaims()));
token("unknown_key", "a published key of another cloud", sign(otherCloudKey, userClaims()));
signed("unknown_key", "kid of a published elliptic key", {}, { kid: "key-elliptic" });
signed("unknown_key", "kid of a published entry that is no key", {}, { kid: "key-broken" });
token("issuer", "a published key that is bound to another tenant", sign(otherTenantKey, userClaims()));

// Header members that change what the signature means
signed(
  "header",
  "an unknown critical extension",
  {},
  { crit: ["http://example.test/ext"], "http://example.test/ext": true },
);
signed("header", "crit naming a known member", {}, { crit: ["exp"], exp: 1 });
signed("header", "crit empty", {}, { crit: [] });
signed("header", "crit null", {}, { crit: null });
signed("header", "b64 false", {}, { b64: false, crit: ["b64"] });
signed("header", "b64 true", {}, { b64: true });
signed("header", "a nonce, as in Graph's own tokens", {}, { nonce: "n" });
signed("header", "compression", {}, { zip: "DEF" });
for (const typ of ["at+jwt", "jwt", "JWT ", "JOSE", "application/jwt", "", null, ["JWT"], undefined])
  signed("type", `typ ${JSON.stringify(typ) ?? "missing"}`, {}, { typ });

// Version, tenant and issuer
for (const ver of ["3.0", "2", "", 2, ["2.0"], null, undefined])
  signed("version", `ver ${JSON.stringify(ver) ?? "missing"}`, { ver });
signed("issuer", "ver 1.0 with the v2 issuer", { ver: "1.0" });
signed("issuer", "ver 2.0 with the v1 issuer", { iss: `https://sts.windows.net/${TENANT}/` });
token(
  "issuer",
  "a v1 token with its issuer's slash missing",
  sign(key, v1Claims({ iss: `https://sts.windows.net/${TENANT}` })),
);
token(
  "other_cloud",
  "a v1 token with the China issuer",
  sign(key, v1Claims({ iss: `https://sts.chinacloudapi.cn/${TENANT}/` })),
);
signed("tenant", "a token of another tenant", {
  tid: OTHER_TENANT,
  iss: V2_ISSUER.replace(TENANT, OTHER_TENANT),
});
signed("tenant", "another tenant's tid under our issuer", { tid: OTHER_TENANT });
signed("issuer", "our tid under another tenant's issuer", { iss: V2_ISSUER.replace(TENANT, OTHER_TENANT) });
token(
  "tenant",
  "a v1 token of another tenant",
  sign(key, v1Claims({ tid: OTHER_TENANT, iss: `https://sts.windows.net/${OTHER_TENANT}/` })),
);
for (const tid of [
  "common",
  "",
  "{tenantid}",
  "*",
  `${TENANT}\n`,
  ` ${TENANT}`,
  7,
  [TENANT],
  { 0: TENANT },
  null,
  undefined,
])
  signed("tenant", `tid ${JSON.stringify(tid) ?? "missing"}`, { tid });
for (const [what, iss] of [
  ["with a trailing slash", `${V2_ISSUER}/`],
  ["in upper case", V2_ISSUER.toUpperCase()],
  ["over http", V2_ISSUER.replace("https", "http")],
  ["with the port spelled out", V2_ISSUER.replace(".com/", ".com:443/")],
  ["by an alias of the host", V2_ISSUER.replace("login.microsoftonline.com", "login.windows.net")],
  ["on a host that ends alike", V2_ISSUER.replace("login.", "evil-login.")],
  ["on a host that begins alike", V2_ISSUER.replace(".com/", ".com.evil.test/")],
  ["with user information", V2_ISSUER.replace("https://", "https://login.microsoftonline.com@")],
  ["as the unfilled template", V2_ISSUER.replace(TENANT, "{tenantid}")],
  ["with a blank before it", ` ${V2_ISSUER}`],
  ["empty", ""],
  ["null", null],
  ["a number", 1],
  ["an array of the right one", [V2_ISSUER]],
  ["missing", undefined],
] as const)
  signed("issuer", `iss ${what}`, { iss });

for (const [what, host] of [
  ["US Government", "login.microsoftonline.us"],
  ["China", "login.partner.microsoftonline.cn"],
  ["France", "login.sovcloud-identity.fr"],
] as const) {
  const iss = V2_ISSUER.replace("login.microsoftonline.com", host);
  signed("other_cloud", `iss of ${what}`, { iss });
  signed("other_cloud", `a token of another tenant in ${what}`, {
    iss: iss.replace(TENANT, OTHER_TENANT),
    tid: OTHER_TENANT,
  });
}
signed("personal_account", "a token of a personal account", {
  tid: "9188040d-6c67-4c5b-b112-36a304b66dad",
  iss: V2_ISSUER.replace(TENANT, "9188040d-6c67-4c5b-b112-36a304b66dad"),
});

// A token for Microsoft Graph, which is the commonest mistake
for (const aud of [
  "https://graph.microsoft.com",
  "https://graph.microsoft.com/",
  "HTTPS://Graph.Microsoft.com",
  "00000003-0000-0000-c000-000000000000",
  "https://graph.microsoft.us",
  "https://dod-graph.microsoft.us/",
  "https://microsoftgraph.chinacloudapi.cn",
])
  signed("graph_token", `a token for ${aud}`, { aud });
token(
  "graph_token",
  "a v1 token for Graph with the nonce that only Graph can check",
  sign(key, v1Claims({ aud: "00000003-0000-0000-c000-000000000000" }), { nonce: "n", x5t: "key-1" }),
);
token(
  "graph_token",
  "a token for Graph of another tenant",
  sign(key, v1Claims({ aud: "https://graph.microsoft.com", tid: OTHER_TENANT }), { nonce: "n" }),
);
token(
  "graph_token",
  "a token for Graph without a key id",
  sign(key, v1Claims({ aud: "https://graph.microsoft.com" }), { kid: undefined }),
);
signed("audience", "a token for a host that begins as Graph does", {
  aud: "https://graph.microsoft.com.evil.test",
});

// Audience
for (const [what, aud] of [
  ["of another API", CLIENT],
  ["of Azure's management", "https://management.azure.com/"],
  ["of another API as URI", `api://${CLIENT}`],
  ["with a trailing blank", `${API} `],
  ["as a wildcard", "*"],
  ["empty", ""],
  ["null", null],
  ["as an object", { [API]: true }],
  ["as a one-element array", [API]],
  ["as an array with ours in it", [CLIENT, API]],
  ["missing", undefined],
] as const)
  signed("audience", `aud ${what}`, { aud });

for (const [what, aud] of [
  ["with the spn: prefix", `spn:${API}`],
  ["as an App ID URI that is not configured", `api://${API}`],
  ["as an App ID URI with a slash", `api://${API}/`],
  ["in upper case", API.toUpperCase()],
  ["with a trailing slash", `${API}/`],
] as const)
  signed("audience_form", `aud ${what}`, { aud });

// Time
for (const seconds of [1, 30, 60, 61, 296, 301, 3_600, 31_536_000])
  signed("expired", `expired ${seconds} s ago`, {
    iat: now - seconds - 3_600,
    nbf: now - seconds - 3_600,
    exp: now - seconds,
  });
signed("lifetime", "exp in milliseconds", { exp: (now + 3_600) * 1000 });
signed("lifetime", "a life of 30 hours", { exp: now + 30 * 3_600 });
signed("lifetime", "a life of a year, hidden by a recent iat", {
  nbf: now - 31_536_000,
  iat: now,
  exp: now + 3_600,
});
for (const [claim, values] of [
  ["exp", [undefined, null, "9999999999", -1, 0, now + 3_600.5, true, [now + 3_600]]],
  ["nbf", [undefined, null, "0", 0, now - 0.5]],
  ["iat", [undefined, null, "0", -1]],
] as const)
  for (const value of values)
    signed("claims", `${claim} ${JSON.stringify(value) ?? "missing"}`, { [claim]: value });
raw(
  "claims",
  "exp too large for a number",
  objectText(userClaims({ exp: undefined }), '"exp":1e999,', "first"),
);
raw(
  "claims",
  "exp of the largest number",
  objectText(userClaims({ exp: undefined }), '"exp":1e308,', "first"),
);
for (const seconds of [120, 200, 3_600])
  signed("not_yet_valid", `not before ${seconds} s from now`, { nbf: now + seconds });
signed("not_yet_valid", "issued tomorrow", { iat: now + 86_400, exp: now + 90_000 });
signed("lifetime", "nbf after exp", { nbf: now + 59, exp: now + 55 });

// Kind of token and authority of its bearer
signed("id_token", "an ID token of another client", { aud: CLIENT, azp: undefined, scp: undefined });
signed("id_token", "an ID token", { azp: undefined, scp: undefined, nonce: "n" });
token("id_token", "a v1 ID token", sign(key, v1Claims({ appid: undefined, scp: undefined })));
token(
  "kind",
  "a v1 token that names its client as v2 does",
  sign(key, v1Claims({ appid: undefined, azp: CLIENT })),
);
signed("kind", "neither scopes nor an application of its own", { scp: undefined });
signed("kind", "scopes in a token that says it is an application's", { idtyp: "app" });
signed("kind", "no scopes in a token that says it is a user's", { idtyp: "user", scp: undefined, sub: USER });
signed("kind", "an idtyp of a device", { idtyp: "device" });
signed("kind", "an idtyp that is no string", { idtyp: ["user"] });
for (const scp of ["", " ", [], ["access_as_user"], 1, true, null, {}])
  signed("claims", `scp ${JSON.stringify(scp)}`, { scp });
for (const oid of [undefined, null, "", 1, [USER]])
  signed("claims", `oid ${JSON.stringify(oid) ?? "missing"}`, { oid });
for (const sub of [undefined, null, "", 1, ["s"]])
  signed("claims", `sub ${JSON.stringify(sub) ?? "missing"}`, { sub });
for (const azp of [null, "", 1, [CLIENT]]) signed("claims", `azp ${JSON.stringify(azp)}`, { azp });
for (const cnf of [{ jkt: "thumbprint" }, { "x5t#S256": "x" }, {}, null, "x"])
  signed("proof_of_possession", `cnf ${JSON.stringify(cnf)}`, { cnf });
signed("proof_of_possession", "a signed HTTP request around an access token", { at: good }, { typ: "pop" });
signed("proof_of_possession", "a token whose type says that it is bound", {}, { typ: "at+pop" });
signed("proof_of_possession", "a bound token without scopes", { cnf: { kid: "x" }, scp: [] });
signed("type", "another type", {}, { typ: "popcorn" });
signed("claims", "roles that are no list", { roles: "Admin" });
signed("claims", "roles that are no strings", { roles: [{ admin: true }] });
signed("claims", "groups that are no list", { groups: "all" });
signed("claims", "capabilities that are no strings", { xms_cc: [1] });
signed("claims", "authentication contexts that are no list", { acrs: { c1: true } });

// Names that mean something to JavaScript, and names stated twice
raw("version", "all claims hidden under __proto__", `{"__proto__":${JSON.stringify(userClaims())}}`);
raw(
  "version",
  "all claims hidden under constructor.prototype",
  `{"constructor":{"prototype":${JSON.stringify(userClaims())}}}`,
);
raw(
  "kind",
  "scp hidden under __proto__",
  objectText(userClaims({ scp: undefined }), '"__proto__":{"scp":"admin"},', "first"),
);
raw("audience", "aud stated twice, the last one wrong", objectText(userClaims(), ',"aud":"other"', "last"));
raw(
  "tenant",
  "tid stated twice, the last one another tenant's",
  objectText(userClaims(), `,"tid":"${OTHER_TENANT}"`, "last"),
);
raw(
  "expired",
  "exp stated twice, the last one past",
  objectText(userClaims({ iat: 1, nbf: 1 }), ',"exp":2', "last"),
);

export const ATTACKS: readonly Attack[] = attacks;

/** The character that differs from this one only in the two lowest of its six bits. */
/** The base64url character that differs in these bits. */
function sibling(character: string, bits = 1): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return alphabet[alphabet.indexOf(character) ^ bits] ?? "";
}

/** With exponent 1 the signature is the padded digest itself (RFC 8017 §9.2), so no private key is needed. */
function signedByNobody(): string {
  const input = `${encode({ alg: "RS256", typ: "JWT", kid: "key-with-exponent-1" })}.${encode(userClaims())}`;
  const digest = createHash("sha256").update(input).digest("hex");
  const info = `003031300d060960864801650304020105000420${digest}`;
  const padded = `0001${"ff".repeat(256 - 2 - info.length / 2)}${info}`;
  return `${input}.${Buffer.from(padded, "hex").toString("base64url")}`;
}

/** A token truly signed over a part whose last character has an unused bit set. */
function respelt(json: string, part: 0 | 1): string {
  let text = json;
  while (Buffer.byteLength(text) % 3 === 0) text += " ";
  const spelt = encode(text);
  const parts = [goodHeader, goodPayload];
  parts[part] = spelt.slice(0, -1) + sibling(spelt.slice(-1));
  const input = parts.join(".");
  return `${input}.${signBytes("sha256", Buffer.from(input), key.privateKey).toString("base64url")}`;
}

function nested(levels: number): unknown {
  let value: unknown = 0;
  for (let level = 0; level < levels; level += 1) value = [value];
  return value;
}

/** JSON text of an object with a member put in that an object could not hold. */
function objectText(claims: Json, member: string, where: "first" | "last"): string {
  const text = JSON.stringify(claims);
  return where === "first" ? `{${member}${text.slice(1)}` : `${text.slice(0, -1)}${member}}`;
}

function signParts(header: string, payload: string): string {
  return `${header}.${payload}.${signBytes("sha256", Buffer.from(`${header}.${payload}`), key.privateKey).toString("base64url")}`;
}

function hmac(alg: "HS256" | "HS384", secret: string | Buffer, kid = "key-1"): string {
  const input = `${encode({ alg, typ: "JWT", kid })}.${goodPayload}`;
  return `${input}.${createHmac(alg.replace("HS", "sha"), secret).update(input).digest("base64url")}`;
}

function rsa(alg: string, digest: string, padding: number = constants.RSA_PKCS1_PADDING): string {
  const input = `${encode({ alg, typ: "JWT", kid: "key-1" })}.${goodPayload}`;
  return `${input}.${signBytes(digest, Buffer.from(input), { key: key.privateKey, padding }).toString("base64url")}`;
}

function es256(): string {
  const input = `${encode({ alg: "ES256", typ: "JWT", kid: "key-elliptic" })}.${goodPayload}`;
  const signature = signBytes("sha256", Buffer.from(input), {
    key: elliptic.privateKey,
    dsaEncoding: "ieee-p1363",
  });
  return `${input}.${signature.toString("base64url")}`;
}

/** The key that signs ordinary tokens of this table. */
export const ATTACK_KEY: TestKey = key;

/** Parts of a header that would betray a token; short ones would be found in any text. */
export function secretsOf(authorization: readonly string[]): string[] {
  return authorization.flatMap((value) => value.split(/[ .,]/)).filter((part) => part.length > 20);
}
