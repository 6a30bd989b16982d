import { describe, expect, test } from "@jest/globals";
import type { DownstreamApiOptions } from "../../../src/downstream/contract.ts";
import {
  APPLICATION_FIELDS,
  type FieldGroup,
  REQUEST_GROUPS,
  RESPONSE_GROUPS,
} from "../../../src/downstream/headers/header-rules.ts";
import {
  callerResponseHeaders,
  downstreamRequestHeaders,
  headerRulesOf,
} from "../../../src/downstream/headers/headers.ts";
import { ConfigurationError } from "../../../src/errors.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { apiAt } from "../api-options.ts";

const VALUE = "value-of-the-caller";

/** Whether a field of a caller reaches the API with its value. */
function reachesApi(name: string, api: DownstreamApiOptions = apiAt(1)): boolean {
  const ours = { token: new Secret("t"), correlationId: "c", contentLength: undefined };
  return downstreamRequestHeaders([name, VALUE], ours, headerRulesOf(api).request).includes(VALUE);
}

function reachesCaller(name: string, api: DownstreamApiOptions = apiAt(1)): boolean {
  return callerResponseHeaders(200, { [name]: VALUE }, headerRulesOf(api).response).length > 0;
}

const namesIn = (groups: readonly FieldGroup[]) => groups.flatMap(({ names }) => names);
const prefixesIn = (groups: readonly FieldGroup[]) => groups.flatMap(({ prefixes = [] }) => prefixes);
const opening = (side: "request" | "response", name: string, more: Partial<DownstreamApiOptions> = {}) =>
  apiAt(1, { headers: { [side]: { allow: [name] } }, ...more });

/** Where two names differ by a letter, the outside of one is the inside of the other. */
function isListed(groups: readonly FieldGroup[], name: string): boolean {
  return namesIn(groups).includes(name) || prefixesIn(groups).some((prefix) => name.startsWith(prefix));
}

const sides = [
  ["request", REQUEST_GROUPS, reachesApi],
  ["answer", RESPONSE_GROUPS, reachesCaller],
] as const;

describe.each(sides)("of the table of an %s", (_, groups, reaches) => {
  test.each(namesIn(groups))("the field %s does not pass, and its neighbour does", (name) => {
    expect(reaches(name)).toBe(false);
    for (const neighbour of [`${name}z`, `z${name}`, name.slice(0, -1)].filter(
      (one) => !isListed(groups, one),
    ))
      expect([neighbour, reaches(neighbour)]).toEqual([neighbour, true]);
  });

  test.each(prefixesIn(groups))(
    "fields that begin with %s do not pass, and one that nearly does passes",
    (prefix) => {
      expect([reaches(prefix), reaches(`${prefix}z`), reaches(`${prefix}user-name`)]).toEqual([
        false,
        false,
        false,
      ]);
      const cut = prefix.slice(0, -1);
      for (const neighbour of [cut, `${cut}~`, `z${prefix}z`].filter(
        (one) => !isListed(groups, one) && !isListed(groups, one.replace("~", "-")),
      ))
        expect([neighbour, reaches(neighbour)]).toEqual([neighbour, true]);
    },
  );

  test("each group has a reason, and no field stands in two", () => {
    for (const { reason } of groups) expect(reason.length).toBeGreaterThan(20);
    const all = [...namesIn(groups), ...prefixesIn(groups)];
    expect(all).toEqual([...new Set(all)]);
    expect(all).toEqual(all.map((name) => name.toLowerCase()));
  });
});

describe("a field of a caller", () => {
  // Not from the table, so that a name that leaves the table is missed.
  test.each([
    ...["CallerObjectId", "MSCRMCallerID", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid"],
    ...[
      "Impersonate-Extra-Scopes",
      "X-WEBAUTH-USER",
      "X-WEBAUTH-EMAIL",
      "X-Consumer-ID",
      "X-Consumer-Username",
    ],
    ...["X-Token-Sub", "X-ID-Token", "Client-Cert", "Client-Cert-Chain", "Client-IP", "X-Azure-ClientIP"],
    ...["X-Azure-FDID", "Disguised-Host", "X-Forwarded", "X-HTTP-Methods-Override", "X-HTTP-Methods"],
    ...["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "Remote-User", "Remote-Groups"],
    ...["X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes", "X-Client-Cert", "X-SSL-Client-Cert"],
    ...["X-SSL-Client-S-DN", "Ssl-Client-Verify", "Cf-Access-Jwt-Assertion", "X-Auth-Request-Email"],
    ...[
      "X-Forwarded-User",
      "X-Forwarded-Access-Token",
      "X-MS-CLIENT-PRINCIPAL-NAME",
      "X-MS-TOKEN-AAD-ID-TOKEN",
    ],
    ...[
      "X-Pomerium-Jwt-Assertion",
      "Tailscale-User-Login",
      "X-authentik-username",
      "iv-user",
      "Sudo",
      "As-User",
    ],
    ...["X-Goog-IAP-JWT-Assertion", "X-Amzn-Mtls-Clientcert", "X-PowerBI-Profile-Id", "X-TFS-Impersonate"],
    ...["$WSRU", "WL-Proxy-Client-IP", "Proxy-Client-IP", "True-Client-IP", "X-Real-IP", "X-Scope-OrgID"],
    // Servers that hand fields to CGI read these as the names above.
    ...["X_Remote_User", "X.Remote.User", "Remote~User", "x.real.ip", "CallerObjectId_"],
  ])("that names somebody or something else does not reach the API: %s", (name) => {
    expect(reachesApi(name)).toBe(false);
    expect(reachesApi(name.toLowerCase())).toBe(false);
    expect(reachesApi(name.toUpperCase())).toBe(false);
  });

  test.each([
    "MSCRM.SuppressDuplicateDetection",
    "MSCRM.MergeLabels",
    "x-ms-version",
    "x-client-sku",
    "X-Tenant",
  ])("that only looks like one does: %s", (name) => {
    expect(reachesApi(name)).toBe(true);
  });
});

describe("configuration", () => {
  const fixed = (groups: readonly FieldGroup[]) => groups.filter(({ isFixed }) => isFixed);
  const open = (groups: readonly FieldGroup[]) => groups.filter(({ isFixed }) => !isFixed);
  const fixedNames = [
    ...namesIn(fixed([...REQUEST_GROUPS, ...RESPONSE_GROUPS])),
    ...prefixesIn(fixed(REQUEST_GROUPS)).flatMap((prefix) => [prefix, `${prefix}z`]),
  ];

  test.each([...new Set(fixedNames)])("cannot open %s, in either direction and either case", (name) => {
    for (const side of ["request", "response"] as const)
      for (const written of [name, name.toUpperCase()])
        expect(() => headerRulesOf(opening(side, written))).toThrow(ConfigurationError);
  });

  test("fixes what frames the message, carries the token, and selects method and path", () => {
    expect(fixedNames).toEqual(
      expect.arrayContaining([
        ...["authorization", "connection", "content-length", "host", "transfer-encoding", "te", "upgrade"],
        ...[
          "x-http-method",
          "x-original-url",
          "x-rewrite-url",
          "x-method-override",
          "www-authenticate",
          "via",
        ],
      ]),
    );
  });

  test.each([
    ...namesIn(open(REQUEST_GROUPS)),
    ...prefixesIn(open(REQUEST_GROUPS)).map((prefix) => `${prefix}z`),
  ])("can open %s for an API, and nothing beside it", (name) => {
    expect(reachesApi(name, opening("request", name.toUpperCase()))).toBe(true);
    expect(reachesApi("x-forwarded-for", opening("request", name))).toBe(name === "x-forwarded-for");
  });

  test.each(namesIn(open(RESPONSE_GROUPS)))("can open %s for callers", (name) => {
    expect(reachesCaller(name, opening("response", name))).toBe(true);
  });

  test("that opens and denies a field denies it", () => {
    const api = apiAt(1, { headers: { request: { allow: ["Cookie"], deny: ["cookie"] } } });
    expect(reachesApi("cookie", api)).toBe(false);
  });
});

describe("a route that acts as the application", () => {
  const app = { actsAs: "app" as const };

  test.each([...APPLICATION_FIELDS])("forwards %s, and not its neighbour", (name) => {
    expect(reachesApi(name, apiAt(1, app))).toBe(true);
    for (const neighbour of [`${name}z`, `x-${name}`].filter((one) => !APPLICATION_FIELDS.has(one)))
      expect([neighbour, reachesApi(neighbour, apiAt(1, app))]).toEqual([neighbour, false]);
  });

  test("forwards what its API's configuration adds", () => {
    expect(reachesApi("x-ms-blob-type", apiAt(1, app))).toBe(false);
    expect(reachesApi("x-ms-blob-type", opening("request", "X-MS-Blob-Type", app))).toBe(true);
  });

  test("forwards no field that is denied, though it is listed", () => {
    expect(reachesApi("prefer", apiAt(1, { ...app, headers: { request: { deny: ["Prefer"] } } }))).toBe(
      false,
    );
  });

  const identity = REQUEST_GROUPS.filter(({ namesSomebody }) => namesSomebody);
  test.each([...namesIn(identity), ...prefixesIn(identity).map((prefix) => `${prefix}z`)])(
    "does not forward %s, though configuration opens it for users",
    (name) => {
      expect(reachesApi(name, opening("request", name))).toBe(true);
      expect(reachesApi(name, opening("request", name, app))).toBe(false);
    },
  );
});
