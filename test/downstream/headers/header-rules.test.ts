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

/** Words of a text; those that end in `*` are the begin of names. */
const words = (text: string) => text.trim().split(/\s+/);
/** A name and two that a prefix stands for. */
const meant = (word: string) => (word.endsWith("*") ? [word.slice(0, -1), `${word.slice(0, -1)}z`] : [word]);

/** The tables once more, so that a name that leaves them, or moves to another group, is missed. */
const REQUEST_FIXED = words(`
    delegation
    connection http2-settings keep-alive proxy-authenticate proxy-authentication-info
    proxy-authorization proxy-connection te trailer transfer-encoding upgrade authorization
    client-request-id content-length expect host via x-correlation-id http-method-override
    x-http-override x-method x-method-override x-http-method* x-http-destinationurl
    x-http-path-override x-original-url x-override-url x-proxy-url x-rewrite-url x-rewrite-*
    x-waws-*
`);
const REQUEST_IDENTITY = words(`
    access-token cookie cookie2 id-token x-access-token x-id-token x-identity x-identity-token
    x-refresh-token x-serverless-authorization x-token x-authorization* x-ms-authorization-*
    x-ms-token-* x-token-* act-as as-user assume-user callerobjectid es-security-runas-user
    impersonate impersonate-user mscrmcallerid on-behalf-of run-as sudo x-act-as x-on-behalf-of
    x-powerbi-profile-id x-presto-user x-redmine-switch-user x-run-as x-scope-orgid
    x-tfs-impersonate x-trino-original-user x-trino-user x-vss-userdata dropbox-api-select-*
    impersonate-* x-docusign-act-* x-egnyte-act-as* x-impersonat* eppn persistent-id sm-user
    sm-userdn smuser teleport-jwt-assertion x-anonymous-consumer x-email x-groups x-roles x-user
    x-user-claims x-user-email x-user-groups x-user-id x-user-name x-user-role x-user-roles x-userid
    x-userinfo x-username $ws* iv-* oam-* oidc-* remote-* shib-* tailscale-user-* x-amzn-oidc-*
    x-apigateway-api-* x-appengine-* x-auth-* x-authenticated-* x-authentik-* x-consumer-*
    x-credential-* x-endpoint-api-* x-goog-authenticated-* x-goog-iap-* x-jwt-*
    x-ms-client-principal* x-pomerium-* x-remote-* x-vouch-* x-webauth-* client-cert
    client-cert-chain x-client-cert x-client-cert-chain x-client-certificate x-client-dn
    x-client-subject x-client-verify ssl-client-* x-amzn-mtls-* x-ssl-*
`);
const REQUEST_OPEN = words(`
    disguised-host was-default-hostname x-host x-host-override x-http-host-override client-ip
    fastly-client-ip fly-client-ip forwarded true-client-ip x-client-ip x-clientip
    x-cluster-client-ip x-custom-ip-authorization x-forwarded x-ms-endpoint-absolute-path x-ms-proxy
    x-originating-ip x-proxyuser-ip x-real-ip x-site-deployment-id x-source-ip cf-* wl-proxy-*
    x-akamai-* x-appservice-* x-arr-* x-azure-* x-envoy-* x-fd-* x-forwarded-* x-ms-adfs-*
    x-ms-forwarded-* x-original-* proxy proxy-* origin referer access-control-request-* sec-*
    baggage
`);
const RESPONSE_FIXED = words(`
    connection http2-settings keep-alive proxy-authenticate proxy-authentication-info
    proxy-authorization proxy-connection te trailer transfer-encoding upgrade authentication-info
    www-authenticate x-correlation-id
`);
const RESPONSE_OPEN = words(`
    alt-svc clear-site-data expect-ct nel origin-agent-cluster public-key-pins report-to
    reporting-endpoints service-worker-allowed set-cookie set-cookie2 strict-transport-security
    timing-allow-origin access-control-* x-accel-redirect x-lighttpd-send-file x-sendfile
    x-ms-client-principal* x-ms-token-*
`);
const APPLICATION = words(`
    accept accept-charset accept-encoding accept-language cache-control consistencylevel
    content-digest content-disposition content-encoding content-language content-md5 content-range
    content-type digest idempotency-key if-match if-modified-since if-none-match if-range
    if-unmodified-since last-event-id mcp-method mcp-name mcp-protocol-version mcp-session-id
    odata-isolation odata-maxversion odata-version pragma prefer priority range repeatability-first-sent
    repeatability-request-id repr-digest return-client-request-id traceparent tracestate user-agent
    want-content-digest want-repr-digest x-requested-with
`);

describe("of the fields that this test lists", () => {
  const listed = (all: readonly string[]) => all.flatMap(meant);
  const opens = (side: "request" | "response", name: string) => {
    try {
      headerRulesOf(opening(side, name));
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigurationError);
      return false;
    }
  };

  test("none of a request's reaches the API, in either case", () => {
    const names = listed([...REQUEST_FIXED, ...REQUEST_IDENTITY, ...REQUEST_OPEN]);
    expect(names.flatMap((name) => [name, name.toUpperCase()]).filter((name) => reachesApi(name))).toEqual(
      [],
    );
  });

  test("none of an answer's reaches the caller", () => {
    expect(listed([...RESPONSE_FIXED, ...RESPONSE_OPEN]).filter((name) => reachesCaller(name))).toEqual([]);
  });

  test("those that are fixed are opened in neither direction, and the others are", () => {
    const fixed = listed([...REQUEST_FIXED, ...RESPONSE_FIXED]);
    for (const side of ["request", "response"] as const) {
      expect(fixed.filter((name) => opens(side, name))).toEqual([]);
      expect(
        listed([...REQUEST_IDENTITY, ...REQUEST_OPEN, ...RESPONSE_OPEN]).filter((name) => !opens(side, name)),
      ).toEqual([]);
    }
  });

  test("those that name somebody stay away from a route that acts as the application, and the others can be opened", () => {
    const opened = (name: string) => reachesApi(name, opening("request", name, { actsAs: "app" }));
    expect(listed(REQUEST_IDENTITY).filter(opened)).toEqual([]);
    expect(listed(REQUEST_OPEN).filter((name) => !opened(name))).toEqual([]);
  });

  test("those for applications pass on a route that acts as the application", () => {
    expect(APPLICATION.filter((name) => !reachesApi(name, apiAt(1, { actsAs: "app" })))).toEqual([]);
  });

  test("no other stands in the tables", () => {
    const table = (groups: readonly FieldGroup[]) =>
      [...namesIn(groups), ...prefixesIn(groups).map((prefix) => `${prefix}*`)].sort();
    expect(table(REQUEST_GROUPS)).toEqual([...REQUEST_FIXED, ...REQUEST_IDENTITY, ...REQUEST_OPEN].sort());
    expect(table(RESPONSE_GROUPS)).toEqual([...RESPONSE_FIXED, ...RESPONSE_OPEN].sort());
    expect([...APPLICATION_FIELDS].sort()).toEqual(APPLICATION.sort());
  });
});
