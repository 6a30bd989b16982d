import { describe, expect, test } from "@jest/globals";
import { parseChallenges } from "../../../src/downstream/headers/challenges.ts";
import { challengeOf, usableClaims } from "../../../src/downstream/headers/claims-challenge.ts";
import { GatewayError } from "../../../src/errors.ts";
import { claimsChallenge } from "../../../src/http/claims-challenge.ts";

const CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}';
const encode = (text: string | Uint8Array) => Buffer.from(text).toString("base64");
const BASE64 = encode(CLAIMS);

const parsed = (value: string | string[]) =>
  parseChallenges(value).map(({ scheme, token68, parameters, wellFormed }) => ({
    scheme,
    ...(token68 === undefined ? {} : { token68 }),
    parameters: Object.fromEntries(parameters),
    ...(wellFormed ? {} : { wellFormed }),
  }));

describe("a list of challenges", () => {
  test.each<[string, string | string[], unknown[]]>([
    ["nothing", "", []],
    ["a bare scheme", "Bearer", [{ scheme: "bearer", parameters: {} }]],
    [
      "two bare schemes",
      "Bearer, Negotiate",
      [
        { scheme: "bearer", parameters: {} },
        { scheme: "negotiate", parameters: {} },
      ],
    ],
    ["token68", "Negotiate YWJj==", [{ scheme: "negotiate", token68: "YWJj==", parameters: {} }]],
    [
      "token68 before another challenge",
      'NTLM TlRM , Bearer realm="a"',
      [
        { scheme: "ntlm", token68: "TlRM", parameters: {} },
        { scheme: "bearer", parameters: { realm: "a" } },
      ],
    ],
    [
      "blanks around the equals sign",
      'Bearer realm = "a"',
      [{ scheme: "bearer", parameters: { realm: "a" } }],
    ],
    ["escapes", 'Bearer realm="a\\"b\\\\c"', [{ scheme: "bearer", parameters: { realm: 'a"b\\c' } }]],
    [
      "empty list elements",
      ',, Bearer realm="a",, ,error="b",',
      [{ scheme: "bearer", parameters: { realm: "a", error: "b" } }],
    ],
    ["names in any case", 'BEARER Realm="a"', [{ scheme: "bearer", parameters: { realm: "a" } }]],
    [
      "several lines",
      ['Basic realm="a, b"', 'Bearer realm="c"'],
      [
        { scheme: "basic", parameters: { realm: "a, b" } },
        { scheme: "bearer", parameters: { realm: "c" } },
      ],
    ],
    ["parameters without a scheme", 'realm="a"', []],
    [
      "an open quote",
      'Bearer realm="a',
      [{ scheme: "bearer", parameters: { realm: "" }, wellFormed: false }],
    ],
    [
      "a parameter twice",
      'Bearer realm="a", REALM="b"',
      [{ scheme: "bearer", parameters: { realm: "b" }, wellFormed: false }],
    ],
    [
      "words where a value should have been quoted",
      "Bearer error=a b c",
      [{ scheme: "bearer", parameters: { error: "a" }, wellFormed: false }],
    ],
    [
      "a scheme before a comma, which is no token68",
      "Negotiate , Basic",
      [
        { scheme: "negotiate", parameters: {} },
        { scheme: "basic", parameters: {} },
      ],
    ],
    [
      "a token68 without a blank before it, which is none",
      "Negotiate/YWJj",
      [{ scheme: "negotiate", parameters: {}, wellFormed: false }],
    ],
  ])("is read by the grammar: %s", (_, value, expected) => {
    expect(parsed(value)).toEqual(expected);
  });

  test("is not read at all past eight kilobytes, whether in one line or in many", () => {
    const filled = (length: number) => `Bearer realm="${"a".repeat(length - 15)}"`;
    expect(filled(8192)).toHaveLength(8192);
    expect(parseChallenges(filled(8192))).toHaveLength(1);
    expect(parseChallenges(filled(8193))).toEqual([]);
    expect(parseChallenges(`Bearer realm="${"a".repeat(8192)}"`)).toEqual([]);
    expect(parseChallenges(Array.from({ length: 900 }, () => "Bearer a=b"))).toEqual([]);
  });
});

describe("a usable claims challenge", () => {
  test.each<[pitfall: string, header: string | string[]]>([
    [
      "as documented",
      `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="${BASE64}"`,
    ],
    [
      "1: authorization_uri without quotes",
      `Bearer authorization_uri=https://login.windows.net/common/oauth2/authorize, error="insufficient_claims", claims="${BASE64}"`,
    ],
    [
      "2: the description under a camel-case name",
      `Bearer realm="", errorDescription="Continuous access evaluation, revoked", error="insufficient_claims", claims="${BASE64}"`,
    ],
    [
      "3: another scheme first, with the same names",
      `PoP realm="", error="invalid_token", nonce="ey==", claims="bm8=", Bearer realm="", error="insufficient_claims", claims="${BASE64}"  `,
    ],
    [
      "3: another scheme behind",
      `Bearer error="insufficient_claims", claims="${BASE64}", PoP realm="", claims="bm8=", nonce="a, b"`,
    ],
    ["3: on several lines", ['PoP nonce="a"', `Bearer claims="${BASE64}"`]],
    [
      "4: padding and commas inside quotes",
      `Bearer error_description="a=b, c=d==", claims="${encode('{"access_token":{"a":"=, ="}}')}"`,
    ],
    [
      "5: error is invalid_token",
      `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="Could not find identity, claims missing", claims="${BASE64}"`,
    ],
    ["5: no error at all", `Bearer claims="${BASE64}"`],
    [
      "7: no realm, no path",
      `Bearer authorization_uri="https://login.windows.net", error="insufficient_claims", claims="${BASE64}"`,
    ],
    [
      "8: client_id naming Graph",
      `Bearer client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", claims="${BASE64}", cc_type="authcontext"`,
    ],
    ["9: unpadded", `Bearer claims="${BASE64.replace(/=+$/, "")}"`],
    [
      "9: URL-safe",
      `Bearer claims="${Buffer.from('{"access_token":{"a":"~~~???>>>"}}').toString("base64url")}"`,
    ],
    ["9: blanks inside the JSON", `Bearer claims="${encode('{ "access_token" : { "nbf" : 1 } }\n')}"`],
    ["not quoted", `Bearer claims=${BASE64}, error=insufficient_claims`],
    ["scheme and names in other cases", `bearer ERROR="insufficient_claims", Claims="${BASE64}"`],
  ])("is found: %s", (_, header) => {
    expect(usableClaims(header)).toMatch(/^\{\s*"access_token"/);
  });

  test("is handed over as the very text the server encoded", () => {
    const text = '{ "access_token": {"acrs":{"essential":true,"value":"c1"}} }';
    expect(usableClaims(`Bearer claims="${encode(text)}"`)).toBe(text);
  });

  test.each<[pitfall: string, header: string | string[] | undefined]>([
    ["no header", undefined],
    ["an empty header", ""],
    ["a plain challenge", 'Bearer error="invalid_token"'],
    ["6: empty claims", 'Bearer error="insufficient_claims", claims=""'],
    ["3: claims of another scheme only", `PoP claims="${BASE64}", Bearer error="invalid_token"`],
    ["9: raw JSON with bare quotes", `Bearer error="insufficient_claims", claims="${CLAIMS}"`],
    ["9: raw JSON with escaped quotes", `Bearer claims="${CLAIMS.replaceAll('"', '\\"')}"`],
    ["9: base64 of something else", `Bearer claims="${encode("hello")}"`],
    ["9: base64 cut short", `Bearer claims="${BASE64.slice(0, 21)}"`],
    ["10: claims twice", `Bearer claims="${BASE64}", claims="${BASE64}"`],
    ["10: another parameter twice", `Bearer realm="a", realm="b", claims="${BASE64}"`],
    ["10: a huge value", `Bearer claims="${encode(`{"access_token":{"a":"${"x".repeat(4096)}"}}`)}"`],
    ["10: a huge header", `Bearer claims="${BASE64}", error_description="${"x".repeat(8192)}"`],
    ["10: not UTF-8", `Bearer claims="${encode(Uint8Array.of(0x7b, 0xff, 0x7d))}"`],
    ["10: an array", `Bearer claims="${encode('[{"access_token":{}}]')}"`],
    ["10: null", `Bearer claims="${encode("null")}"`],
    ["10: nothing about the access token", `Bearer claims="${encode('{"id_token":{}}')}"`],
    ["10: an access_token that is no object", `Bearer claims="${encode('{"access_token":"x"}')}"`],
    ["10: a byte-order mark", `Bearer claims="${encode(`\ufeff${CLAIMS}`)}"`],
    ["characters outside base64", `Bearer claims="${BASE64.slice(0, 8)}*${BASE64.slice(8)}"`],
    ["an open quote", `Bearer claims="${BASE64}`],
  ])("is not found: %s", (_, header) => {
    expect(usableClaims(header)).toBeUndefined();
  });
});

describe("whatever a server sends", () => {
  const REAL = [
    `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", claims="${BASE64}"`,
    `PoP nonce="eyJ0", realm="", Bearer authorization_uri=https://login.windows.net/x, error="invalid_token", claims="${BASE64}"  `,
    `Bearer claims="${CLAIMS}", error="insufficient_claims"`,
    "Negotiate YWJj==, NTLM, Basic realm=x",
  ];
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const randomText = (length: number, range: number) =>
    Array.from({ length }, () => String.fromCharCode(random(range))).join("");

  test("random bytes are read without an exception", () => {
    for (let round = 0; round < 3000; round++) {
      const text = randomText(random(200), round % 2 === 0 ? 256 : 128);
      expect(() => usableClaims(text)).not.toThrow();
    }
  });

  test("mutated real headers are read without an exception, and what is found is JSON about the access token", () => {
    for (let round = 0; round < 6000; round++) {
      let text = REAL[random(REAL.length)] ?? "";
      for (let mutation = random(5); mutation >= 0; mutation--) {
        const at = random(text.length);
        const piece = ['"', "\\", ",", "=", " ", "\t", "Bearer ", randomText(3, 256), ""][random(9)] ?? "";
        text = text.slice(0, at) + piece + text.slice(at + random(4));
      }
      const claims = usableClaims(text);
      if (claims !== undefined) expect(JSON.parse(claims)).toHaveProperty("access_token");
    }
  });

  test.each([
    ["quotes", '"'],
    ["backslashes in a quote", "\\"],
    ["commas", ","],
    ["equals signs", "="],
    ["blanks", " "],
    ["half-open parameters", 'a="'],
    ["token characters", "a"],
    ["escaped quotes", '\\"'],
  ])("eight kilobytes of %s are read in steps proportional to their length", (_, piece) => {
    const text = `Bearer a="${piece.repeat(8000 / piece.length)}`;
    expect(() => usableClaims(text)).not.toThrow();
  });
});

describe("an answer's challenge", () => {
  const header = `Bearer claims="${BASE64}"`;

  test.each([
    [200, undefined],
    [400, undefined],
    [401, CLAIMS],
    [402, undefined],
    [403, CLAIMS],
    [404, undefined],
  ])("is read where the status may challenge: %i", (status, claims) => {
    expect(challengeOf(status, header)).toBe(claims);
  });

  test("that asks for something other than claims is the API's failure", () => {
    const odd = encode('{"access_token":{"nbf":null},"amr":"mfa"}');
    let refused: unknown;
    try {
      challengeOf(401, `Bearer claims="${odd}"`);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(GatewayError);
    expect(refused).toMatchObject({ code: "downstream_unreachable", reason: "claims_malformed" });
  });

  test.each([
    [4095, true],
    [4096, true],
    [4097, false],
  ])("is taken up to four kilobytes of claims: %i bytes", (length, taken) => {
    const start = '{"access_token":{"a":{"value":"';
    const claims = `${start}${"v".repeat(length - start.length - 4)}"}}}`;
    expect(claims).toHaveLength(length);
    for (const encoded of [encode(claims), encode(claims).replace(/=+$/, "")])
      expect(challengeOf(401, `Bearer claims="${encoded}"`)).toBe(taken ? claims : undefined);
  });
});

describe("claims of a challenge", () => {
  test.each([
    ["another challenge of the same scheme that has none", `Bearer error="x", Bearer claims="${BASE64}"`],
    ["one that is no base64", `Bearer claims="?", Bearer claims="${BASE64}"`],
    ["one that is malformed", `Bearer a=b c, Bearer claims="${BASE64}"`],
    ["another scheme's", `PoP claims="${encode('{"access_token":{}}')}", Bearer claims="${BASE64}"`],
  ])("are found behind %s", (_, header) => {
    expect(usableClaims(header)).toBe(CLAIMS);
  });

  test.each([
    ["three signs of padding", `${BASE64}===`],
    ["a byte order mark", encode(`\ufeff${CLAIMS}`)],
    ["nothing", ""],
  ])("are none with %s", (_, encoded) => {
    expect(usableClaims(`Bearer claims="${encoded}"`)).toBeUndefined();
  });
});

describe("the gateway's own claims challenge", () => {
  const challenge = claimsChallenge({
    tenantId: "11111111-1111-1111-1111-111111111111",
    authorizeEndpoint: "https://login.example/11111111-1111-1111-1111-111111111111/oauth2/v2.0/authorize",
    clientId: "22222222-2222-2222-2222-222222222222",
    claims: CLAIMS,
  });

  test("names the gateway and its tenant, and carries the claims as padded base64", () => {
    expect(challenge).toBe(
      'Bearer realm="11111111-1111-1111-1111-111111111111", ' +
        'authorization_uri="https://login.example/11111111-1111-1111-1111-111111111111/oauth2/v2.0/authorize", ' +
        'client_id="22222222-2222-2222-2222-222222222222", error="insufficient_claims", ' +
        `claims="${BASE64}"`,
    );
  });

  test("is read back by our own parser", () => {
    expect(usableClaims(challenge)).toBe(CLAIMS);
  });
});
