import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigurationError } from "../../src/errors.ts";

const TENANT = "11111111-1111-4111-8111-111111111111";
const CLIENT = "22222222-2222-4222-8222-222222222222";
const ENV = { AZURE_TENANT_ID: TENANT, AZURE_CLIENT_ID: CLIENT };

const MINIMAL = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}"]
downstreamApis:
  graph: { baseUrl: "https://graph.microsoft.com/v1.0", scopes: [https://graph.microsoft.com/.default] }
routes:
  - { path: /graph, downstreamApi: graph, allow: ["/me"] }
`;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "config-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function load(yaml: string, env: Record<string, string> = {}) {
  const file = join(directory, "gateway.yaml");
  writeFileSync(file, yaml);
  return loadConfig({ ...ENV, GATEWAY_CONFIG: file, ...env });
}

function faultsOf(yaml: string, env: Record<string, string> = {}): string[] {
  try {
    load(yaml, env);
  } catch (error) {
    if (error instanceof ConfigurationError)
      return error.faults.map(({ path, problem }) => `${path}: ${problem}`);
    throw error;
  }
  return [];
}

describe("a good configuration", () => {
  test("the shipped config/gateway.yaml needs only tenant and client id", () => {
    const config = loadConfig(ENV, 4 * 2 ** 30);
    expect(config.identity.tenants).toEqual([TENANT]);
    expect(config.identity.audiences).toEqual([CLIENT, `api://${CLIENT}`]);
    expect(config.identity.verifier).toBe("passport-azure-ad");
    expect(config.identity.cache).toEqual({
      maxEntries: 100_000,
      maxBytes: 96 * 2 ** 20,
      maxAgeMs: 300_000,
    });
    expect(config.listen).toEqual({ host: "127.0.0.1", port: 8080, adminPort: 8081 });
    expect(config.application.authorityHost).toBe("https://login.microsoftonline.com/");
    expect(config.routes.map(({ target }) => target)).toEqual([
      { path: "/graph", methods: ["GET"], allow: ["/me", "/me/**"] },
    ]);
  });

  test.each([
    ["[::]", "::"],
    ["::", "::"],
    ["[::1]", "::1"],
    ["0.0.0.0", "0.0.0.0"],
    ["localhost", "localhost"],
  ])("HOST may be an address with or without the brackets of a URL: %s", (written, host) => {
    expect(load(MINIMAL, { HOST: written }).listen.host).toBe(host);
  });

  test.each([
    "https://*.contoso.com",
    "https://*.preview.contoso.com:8443",
    "http://*.dev.localhost.example",
  ])("an origin may hold * for its leftmost label: %s", (origin) => {
    expect(load(`${MINIMAL}http: { cors: { origins: ["${origin}"] } }`).http.cors.origins).toEqual([origin]);
  });

  test("bounds its caches by the heap of the process, and refuses bounds that do not fit into it", () => {
    const small = loadConfig(ENV, 200 * 2 ** 20);
    expect(small.exchange.cache.maxBytes).toBe(60 * 2 ** 20);
    expect(small.identity.cache.maxBytes).toBe(20 * 2 ** 20);
    const file = join(directory, "bounded.yaml");
    writeFileSync(file, `${MINIMAL}exchange: { cache: { maxBytes: 104857600 } }\n`);
    const env = { ...ENV, GATEWAY_CONFIG: file };
    expect(loadConfig(env, 4 * 2 ** 30).exchange.cache.maxBytes).toBe(100 * 2 ** 20);
    expect(() => loadConfig(env, 200 * 2 ** 20)).toThrow(/exchange\.cache\.maxBytes: .*120 MiB.*200 MiB/s);
  });

  test("is frozen to the bottom", () => {
    const config = load(MINIMAL);
    expect(Object.isFrozen(config.routes[0]?.target.allow)).toBe(true);
    expect(() => Object.assign(config.listen, { port: 1 })).toThrow(TypeError);
  });

  test("reads references with defaults, also where a number or a boolean stands", () => {
    const yaml = MINIMAL.replace(
      "scopes:",
      'timeoutMs: "${TIMEOUT:-1500}", allowPrivateNetwork: "${PRIVATE:-false}", scopes:',
    );
    expect(load(yaml).downstreamApis.graph).toMatchObject({ timeoutMs: 1500, allowPrivateNetwork: false });
    expect(load(yaml, { TIMEOUT: "20", PRIVATE: "true" }).downstreamApis.graph).toMatchObject({
      timeoutMs: 20,
      allowPrivateNetwork: true,
    });
  });

  test.each(["/", "/**", "/me/", "/users/*/messages/**", "/drives/a b/räum.e"])(
    "takes the downstream path %s",
    (path) => {
      expect(load(MINIMAL.replace('"/me"', `"${path}"`)).routes[0]?.target.allow).toEqual([path]);
    },
  );

  test("a value from the environment cannot add structure to the file", () => {
    const yaml = MINIMAL.replace('["/me"]', '["${PATTERN}"]');
    expect(load(yaml, { PATTERN: '/me", "/**' }).routes[0]?.target.allow).toEqual(['/me", "/**']);
  });

  test("an empty variable counts as unset, as manifests often leave one", () => {
    expect(load(MINIMAL, { PORT: "", AZURE_REGIONAL_AUTHORITY_NAME: "" }).listen.port).toBe(8080);
  });

  test("ids are compared in lower case whatever their spelling here", () => {
    const upper = CLIENT.replaceAll("2", "A");
    expect(load(MINIMAL, { AZURE_CLIENT_ID: upper }).application.clientId).toBe(upper.toLowerCase());
  });

  test("the route with the longest path comes first, whatever the order in the file", () => {
    const yaml = `${MINIMAL}  - { path: /graph/beta, downstreamApi: graph, allow: ["/me"] }\n`;
    expect(load(yaml).routes.map(({ target }) => target.path)).toEqual(["/graph/beta", "/graph"]);
  });

  test("a secret prints as [redacted] wherever the configuration is printed", () => {
    const config = load(MINIMAL, {
      AZURE_CLIENT_SECRET: "s3cr3t-value",
      AZURE_CLIENT_CERTIFICATE_PASSWORD: "pa55",
    });
    const printed = inspect(config, { depth: 9 }) + JSON.stringify(config);
    expect(printed).toContain("[redacted]");
    expect(printed).not.toMatch(/s3cr3t-value|pa55/);
    expect(config.credential.clientSecret?.reveal()).toBe("s3cr3t-value");
  });
});

test.each([
  "[https://graph.microsoft.com/User.Read, https://GRAPH.microsoft.com/Mail.Read]",
  "[User.Read, https://graph.microsoft.us/Mail.Read, openid, offline_access]",
  '["https://management.core.windows.net//user_impersonation", "https://management.core.windows.net/x"]',
  "[https://graph.microsoft.com/.default, offline_access]",
])("scopes of one resource load: %s", (scopes) => {
  expect(faultsOf(MINIMAL.replace("[https://graph.microsoft.com/.default]", scopes))).toEqual([]);
});

describe("a bad configuration", () => {
  test("all faults of the file and the environment are told together", () => {
    const yaml = MINIMAL.replace("downstreamApi: graph", "downstreamApi: grpah").replace("allow:", "alow:");
    expect(faultsOf(yaml, { PORT: "http", LOG_LEVEL: "chatty" })).toEqual([
      "PORT: must be a port number from 0 to 65535",
      "LOG_LEVEL: must be a pino level such as info",
      'routes[0].alow: unknown key; did you mean "allow"?',
      'routes[0].allow: is missing; list the downstream paths that pass, such as "/me"',
      'routes[0].downstreamApi: no API named "grpah"; did you mean "graph"?',
    ]);
  });

  test.each([
    [
      "a downstream API that does not exist, with the name that was meant",
      MINIMAL.replace("downstreamApi: graph", "downstreamApi: grpah"),
      'routes[0].downstreamApi: no API named "grpah"; did you mean "graph"?',
    ],
    [
      "a misspelt key deep inside",
      MINIMAL.replace("identity:", "identity:\n  verifer: jose"),
      'identity.verifer: unknown key; did you mean "verifier"?',
    ],
    [
      "a misspelt choice",
      MINIMAL.replace("identity:", "identity:\n  verifier: josé"),
      'identity.verifier: must be one of passport-azure-ad, jose; did you mean "jose"?',
    ],
    [
      "an unset variable without a default",
      MINIMAL.replace("[https://graph.microsoft.com/.default]", '["${GRAPH_SCOPE}"]'),
      "downstreamApis.graph.scopes[0]: the environment variable GRAPH_SCOPE is not set; set it or write ${GRAPH_SCOPE:-default}",
    ],
    [
      "a tenant that is no GUID",
      MINIMAL.replace('"${AZURE_TENANT_ID}"', "contoso.onmicrosoft.com"),
      "identity.tenants[0]: must be a tenant id (GUID) or *",
    ],
    [
      "any tenant beside a named one",
      MINIMAL.replace('"${AZURE_TENANT_ID}"', '"*", "${AZURE_TENANT_ID}"'),
      'identity.tenants: "*" stands alone: it already accepts every tenant',
    ],
    [
      "plain http to an API on the network",
      MINIMAL.replace("https://graph.microsoft.com/v1.0", "http://orders.internal"),
      "downstreamApis.graph.baseUrl: must be https; http needs allowPrivateNetwork: true on the API",
    ],
    [
      "user information in a base URL",
      MINIMAL.replace("https://graph", "https://user:pw@graph"),
      "downstreamApis.graph.baseUrl: must not hold a query, a fragment or user information",
    ],
    [
      "two routes on one path",
      `${MINIMAL}  - { path: /graph, downstreamApi: graph, allow: ["/me"] }\n`,
      "routes[1].path: /graph is taken by routes[0]",
    ],
    [
      "a route path with a trailing slash",
      MINIMAL.replace("path: /graph", "path: /graph/"),
      "routes[0].path: must start with / and hold plain segments, without a trailing slash",
    ],
    [
      "a method that is never forwarded",
      MINIMAL.replace("allow:", "methods: [TRACE], allow:"),
      "routes[0].methods[0]: must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    ],
    [
      "a scope that would end the challenge it is named in",
      MINIMAL.replace("allow:", "requiredScopes: ['a\"b'], allow:"),
      "routes[0].requiredScopes[0]: must be one scope: ASCII without blanks, quotes and backslashes",
    ],
    [
      "two scopes written as one",
      MINIMAL.replace("[https://graph.microsoft.com/.default]", '["User.Read Mail.Read"]'),
      "downstreamApis.graph.scopes[0]: must be one scope: ASCII without blanks, quotes and backslashes",
    ],
    ...["/me*", "/users/%2a", "/a//b", "/a/../b", "me", "/me?x"].map((pattern): [string, string, string] => [
      `a downstream path that cannot be matched: ${pattern}`,
      MINIMAL.replace('"/me"', `"${pattern}"`),
      "routes[0].allow[0]: must start with / and be a plain, decoded path in which * and ** stand for whole segments",
    ]),
    ...["*", "https://app.example/", "https://APP.example", "https://app.example:443", "app.example"].map(
      (origin): [string, string, string] => [
        `an origin that no browser sends: ${origin}`,
        `${MINIMAL}http: { cors: { origins: ["${origin}"] } }`,
        "http.cors.origins[0]: must be an origin as browsers send it, such as https://app.example: no path, no trailing slash, no *",
      ],
    ),
    ...[
      "https://*",
      "https://*.example",
      "https://*.*.app.example",
      "https://*.app.example/",
      "https://*.APP.example",
      "https://*.app.example:443",
      "https://*.app.*.example",
    ].map((origin): [string, string, string] => [
      `an origin with * for more than one leftmost label: ${origin}`,
      `${MINIMAL}http: { cors: { origins: ["${origin}"] } }`,
      "http.cors.origins[0]: may hold * for one leftmost label alone, with a domain of two labels or more behind it, such as https://*.app.example",
    ]),
    ...["https://a*.app.example", "https://app.*.example", "*.app.example"].map(
      (origin): [string, string, string] => [
        `an origin with * elsewhere: ${origin}`,
        `${MINIMAL}http: { cors: { origins: ["${origin}"] } }`,
        "http.cors.origins[0]: must be an origin as browsers send it, such as https://app.example: no path, no trailing slash, no *",
      ],
    ),
    [
      "* for the fields that scripts may read",
      `${MINIMAL}http: { cors: { exposedHeaders: ["*"] } }`,
      "http.cors.exposedHeaders[0]: must be the name of a header field: * exposes nothing that is not named",
    ],
    ...["/graph", "/graph/healthz"].map((path): [string, string, string] => [
      `a probe that would hide a path of an API: ${path}`,
      `${MINIMAL}http: { probePath: ${path} }`,
      "http.probePath: lies at or below routes[0] (/graph); choose another path",
    ]),
    [
      "a probe that is no path",
      `${MINIMAL}http: { probePath: healthz }`,
      "http.probePath: must be a path such as /healthz",
    ],
    [
      "no routes",
      MINIMAL.replace(/routes:.*/s, "routes: []"),
      "routes: must name at least 1; the list is empty or too short",
    ],
    [
      "less time for a whole request than for its headers",
      `${MINIMAL}http: { connections: { requestTimeoutSeconds: 10 } }`,
      "http.connections.requestTimeoutSeconds: must be 0, or not less than headersTimeoutSeconds",
    ],
    [
      "a rate limit that lets nothing pass",
      `${MINIMAL}limits: { perUser: { requests: 0 } }`,
      "limits.perUser.requests: must be at least 1",
    ],
    [
      "a shared cache without a key to seal with",
      `${MINIMAL}exchange: { cache: { redis: { url: "redis://x" } } }`,
      "TOKEN_CACHE_KEYS: is not set, and exchange.cache.redis.url needs it; make one key with: openssl rand -base64 32",
    ],
    [
      "a shared cache of another kind",
      `${MINIMAL}exchange: { cache: { redis: { url: "" } } }`.replace('""', "memcached://x"),
      "exchange.cache.redis.url: must be a redis:// or rediss:// URL",
    ],
    [
      "scopes of two resources",
      MINIMAL.replace(
        "[https://graph.microsoft.com/.default]",
        "[https://graph.microsoft.com/User.Read, api://orders/read]",
      ),
      "downstreamApis.graph.scopes: are of several resources (https://graph.microsoft.com and api://orders); a token is for one: make an API of each",
    ],
    [
      ".default beside another scope",
      MINIMAL.replace("[https://graph", "[https://graph.microsoft.com/User.Read, https://graph"),
      "downstreamApis.graph.scopes: name .default beside other scopes; it stands for all of them, so it stands alone",
    ],
    [
      "a scope of Graph by its short name beside another resource's",
      MINIMAL.replace("[https://graph.microsoft.com/.default]", "[User.Read, api://orders/read]"),
      "downstreamApis.graph.scopes: are of several resources (Microsoft Graph and api://orders); a token is for one: make an API of each",
    ],
  ])("names %s", (_, yaml, fault) => {
    expect(faultsOf(yaml)).toEqual([fault]);
  });

  test.each([
    [
      "AZURE_TENANT_ID",
      "contoso",
      "AZURE_TENANT_ID: must be a GUID such as 11111111-2222-3333-4444-555555555555",
    ],
    [
      "AZURE_AUTHORITY_HOST",
      "http://login.example",
      "AZURE_AUTHORITY_HOST: must be an https URL without a path, such as https://login.microsoftonline.com/",
    ],
    [
      "AZURE_AUTHORITY_HOST",
      "https://login.example/tenant",
      "AZURE_AUTHORITY_HOST: must be an https URL without a path, such as https://login.microsoftonline.com/",
    ],
    [
      "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
      "yes",
      "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN: must be true or false",
    ],
    [
      "AZURE_ADDITIONALLY_ALLOWED_TENANTS",
      "a;b",
      "AZURE_ADDITIONALLY_ALLOWED_TENANTS: must be tenant ids (GUID) separated by ; or *",
    ],
    ["PORT", "65536", "PORT: must be a port number from 0 to 65535"],
    ...[
      "c2hvcnQ=",
      "not base64 at all",
      `${"A".repeat(43)}=,`,
      Array(9)
        .fill(`${"A".repeat(43)}=`)
        .join(","),
    ].map((keys) => [
      "TOKEN_CACHE_KEYS",
      keys,
      "TOKEN_CACHE_KEYS: must be at most 8 keys of 32 bytes in base64, separated by commas; make one with: openssl rand -base64 32",
    ]),
  ])("names the variable: %s=%s", (name, value, fault) => {
    const yaml = MINIMAL.replace("${AZURE_TENANT_ID}", TENANT);
    expect([...new Set(faultsOf(yaml, { [name]: value }))]).toEqual([fault]);
  });

  test("neither the address of a shared cache nor its keys can be printed", () => {
    const key = `${"B".repeat(43)}=`.replace("B=", "E=");
    const yaml = `${MINIMAL}exchange: { cache: { redis: { url: "rediss://:access-key@cache:10000" } } }`;
    const { exchange } = load(yaml, { TOKEN_CACHE_KEYS: `${key}, ${key}` });
    expect(exchange.cacheKeys.map((one) => one.reveal())).toEqual([key, key]);
    expect(exchange.cache.redis.url.reveal()).toBe("rediss://:access-key@cache:10000");
    expect(JSON.stringify(exchange)).not.toMatch(/access-key|BBBB/);
  });

  describe("a Redis that is signed in to by Entra", () => {
    const KEY = { TOKEN_CACHE_KEYS: `${"A".repeat(43)}=` };
    const yaml = (url: string, auth = "entra") =>
      `${MINIMAL}exchange: { cache: { redis: { url: "${url}", auth: ${auth} } } }`;
    const PASSWORD_TOO =
      "exchange.cache.redis.url: holds a user name or password, and exchange.cache.redis.auth: entra signs in with tokens; leave out what stands before @";
    const TLS_ONLY =
      "exchange.cache.redis.url: must begin with rediss:// where exchange.cache.redis.auth is entra: a token goes over TLS only";

    test.each([
      "rediss://name.westeurope.redis.azure.net:10000",
      "rediss+cluster://one:10000,two:10000",
      "redis://127.0.0.1:6379",
      "redis://localhost",
      "redis://[::1]:6379",
    ])("may be %s", (url) => {
      expect(load(yaml(url), KEY).exchange.cache.redis.auth).toBe("entra");
    });

    test.each([
      ["rediss://:access-key@cache:10000", [PASSWORD_TOO]],
      ["rediss://name@cache:10000", [PASSWORD_TOO]],
      ["redis://cache:6379", [TLS_ONLY]],
      ["redis+sentinel://127.0.0.1,cache/main", [TLS_ONLY]],
      ["redis+sentinel://127.0.0.1/main", [TLS_ONLY]],
      ["redis+cluster://127.0.0.1:6379", [TLS_ONLY]],
      ["redis://localhost.example", [TLS_ONLY]],
      ["redis://127.0.0.1.example", [TLS_ONLY]],
      ["redis://:access-key@cache:6379", [PASSWORD_TOO, TLS_ONLY]],
      ["", ["exchange.cache.redis.url: is not set, and exchange.cache.redis.auth: entra signs in to it"]],
    ])("may not be %s", (url, faults) => {
      expect(faultsOf(yaml(url), KEY)).toEqual(faults);
    });

    test("is a choice of two words, and the other is the default", () => {
      expect(faultsOf(yaml("rediss://cache", "Entra"), KEY)).toEqual([
        expect.stringMatching(/^exchange\.cache\.redis\.auth: /),
      ]);
      expect(load(MINIMAL).exchange.cache.redis.auth).toBe("password");
    });
  });

  describe("delegations", () => {
    const KEY = { TOKEN_CACHE_KEYS: `${"A".repeat(43)}=` };
    const JOB = "7d4f2b1c-3a5e-4f60-8b9a-0c1d2e3f4a5b";
    const yaml = (more = "", text = MINIMAL, redis = "rediss://cache:10000") =>
      `${text}exchange: { cache: { redis: { url: "${redis}" } } }\ndelegations: { clients: [${JOB}]${more} }\n`;
    const route = (options: string) =>
      `${MINIMAL}  - { path: /more, downstreamApi: graph, allow: ["/me"], ${options} }\n`;

    test("are absent unless they are there, and then have their defaults", () => {
      expect(load(MINIMAL).delegations).toBeUndefined();
      expect(load(MINIMAL).routes[0]?.takesDelegations).toBe(false);
      const config = load(yaml(", routes: [/graph]"), KEY);
      expect(config.delegations).toEqual({
        clients: [JOB],
        maxDays: 30,
        requiredScopes: [],
        maxPerUser: 20,
        maxPerClient: 10_000,
        scopes: ["https://graph.microsoft.com/.default"],
      });
      expect(config.routes[0]?.takesDelegations).toBe(true);
    });

    test.each<[string, string, readonly string[]]>([
      [
        "without a Redis",
        yaml("", MINIMAL, ""),
        ["delegations: need a Redis to be kept in, which outlives the gateway; set exchange.cache.redis.url"],
      ],
      [
        "where nothing is said of a Redis",
        `${MINIMAL}delegations: { clients: [${JOB}] }\n`,
        ["delegations: need a Redis to be kept in, which outlives the gateway; set exchange.cache.redis.url"],
      ],
      [
        "on a route that there is not",
        yaml(", routes: [/grpah]"),
        ['delegations.routes[0]: no route has the path "/grpah"; did you mean "/graph"?'],
      ],
      [
        "on a route that acts as the application",
        yaml(", routes: [/more]", route(`as: app, allowedClients: [${JOB}]`)),
        ["delegations.routes[0]: /more acts as the application; a delegation is for acting as a user"],
      ],
      [
        "on a route with a step-up",
        yaml(", routes: [/more]", route("authContext: c1")),
        ["delegations.routes[0]: /more needs a step-up (authContext), which no job can meet"],
      ],
      [
        "for a client whose tokens are refused",
        yaml(
          "",
          MINIMAL.replace("identity:", "identity:\n  allowedClients: [11111111-1111-4111-8111-111111111111]"),
        ),
        ["delegations.clients[0]: is not among identity.allowedClients, so its tokens are refused"],
      ],
      [
        "for no client",
        yaml().replace(`[${JOB}]`, "[]"),
        ["delegations.clients: must name at least 1; the list is empty or too short"],
      ],
      ["for ever", yaml(", maxDays: 3650"), ["delegations.maxDays: must be at most 365"]],
      [
        "with a misspelt key",
        yaml(", maxDay: 3"),
        ['delegations.maxDay: unknown key; did you mean "maxDays"?'],
      ],
      [
        "beside a route of the same path",
        yaml("", MINIMAL.replace("path: /graph", "path: /delegations")),
        [
          "routes[0].path: /delegations is where users delegate; choose another path, or leave delegations out",
        ],
      ],
      [
        "beside a probe of the same path",
        `${yaml()}http: { probePath: /delegations }\n`,
        ["http.probePath: is where users delegate; choose another path"],
      ],
    ])("are a fault %s", (_, text, faults) => {
      expect(faultsOf(text, KEY)).toEqual(faults);
    });

    test("and a path is free where there are none", () => {
      expect(load(MINIMAL.replace("path: /graph", "path: /delegations")).routes).toHaveLength(1);
    });
  });

  describe("the keys of a shared cache", () => {
    const yaml = `${MINIMAL}exchange: { cache: { redis: { url: "\${REDIS_URL:-}" } } }`;
    const REDIS_URL = "rediss://cache:10000";
    const TOKEN_CACHE_KEYS = `${"A".repeat(43)}=`;

    test("may be in a file, whose name is taken where there is a Redis", () => {
      const { exchange } = load(yaml, { REDIS_URL, TOKEN_CACHE_KEYS_FILE: "/mnt/keys" });
      expect([exchange.cacheKeysFile, exchange.cacheKeys]).toEqual(["/mnt/keys", []]);
      expect(load(yaml, { TOKEN_CACHE_KEYS_FILE: "/mnt/keys" }).exchange.cacheKeysFile).toBeUndefined();
    });

    test("may not be in a variable and in a file at once", () => {
      expect(faultsOf(yaml, { REDIS_URL, TOKEN_CACHE_KEYS, TOKEN_CACHE_KEYS_FILE: "/mnt/keys" })).toEqual([
        "TOKEN_CACHE_KEYS: is set beside TOKEN_CACHE_KEYS_FILE; only one of them may be",
      ]);
    });

    test("given twice are a fault beside those of other variables", () => {
      const doubled = { TOKEN_CACHE_KEYS, TOKEN_CACHE_KEYS_FILE: "/mnt/keys", PORT: "no" };
      expect(faultsOf(yaml, { REDIS_URL, ...doubled }).map((fault) => fault.split(":")[0])).toEqual([
        "TOKEN_CACHE_KEYS",
        "PORT",
      ]);
    });
  });

  test("a missing variable is named once, beside the places that refer to it", () => {
    expect(faultsOf(MINIMAL, { AZURE_CLIENT_ID: "" })).toEqual([
      "AZURE_CLIENT_ID: is not set",
      "identity.audiences[0]: the environment variable AZURE_CLIENT_ID is not set; set it or write ${AZURE_CLIENT_ID:-default}",
    ]);
  });

  test("an unquoted * that YAML takes for an alias is named with its remedy", () => {
    expect(faultsOf(MINIMAL.replace('["${AZURE_TENANT_ID}"]', "*any"))).toEqual([
      expect.stringMatching(/gateway\.yaml: Unresolved alias .*any; text that begins with \* needs quotes$/),
    ]);
  });

  test("a file that cannot be read is named with the reason", () => {
    expect(faultsOf("", { GATEWAY_CONFIG: "/nowhere/gateway.yaml" })).toEqual([
      "GATEWAY_CONFIG: cannot read /nowhere/gateway.yaml (ENOENT)",
    ]);
  });

  test("broken YAML is told with line and column", () => {
    expect(faultsOf("routes: [\n  {")[0]).toMatch(/gateway\.yaml:\d+:\d+: /);
  });

  test("a key that stands twice is a fault, not a silent choice", () => {
    expect(faultsOf(`${MINIMAL}routes: []\n`)[0]).toMatch(/keys must be unique/i);
  });
});
