import { once } from "node:events";
import { createServer, get as getOver, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  addResponseHeaders,
  callerResponseHeaders,
  downstreamRequestHeaders,
  headerRulesOf,
  isDropped,
  isEventStream,
  writeResponseHead,
} from "../../../src/downstream/headers/headers.ts";
import { ConfigurationError, GatewayError } from "../../../src/errors.ts";
import { fixedFields } from "../../../src/foundation/checked-head.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { apiAt } from "../api-options.ts";

const ours = { token: new Secret("delegated"), correlationId: "c-1", contentLength: undefined };

/** Values of a field in flat header lines. */
function valuesOf(lines: readonly string[], name: string): string[] {
  return lines.filter((_, index) => index % 2 === 1 && lines[index - 1] === name);
}

const request = (...caller: string[]) => downstreamRequestHeaders(caller, ours);
const response = (answer: Record<string, string | string[]>, status = 200) =>
  callerResponseHeaders(status, answer);

describe("a request header field", () => {
  test.each([
    ["Connection", "close"],
    ["Keep-Alive", "timeout=5"],
    ["Proxy-Connection", "keep-alive"],
    ["Proxy-Authenticate", "Basic"],
    ["Proxy-Authorization", "Basic Zm9v"],
    ["TE", "trailers"],
    ["Trailer", "x-sum"],
    ["Transfer-Encoding", "chunked"],
    ["Upgrade", "websocket"],
    ["HTTP2-Settings", "AAMAAABk"],
    ["Expect", "100-continue"],
    ["Host", "gateway.example"],
    ["Cookie", "session=1"],
    ["Cookie2", "$Version=1"],
    ["X-MS-CLIENT-PRINCIPAL", "eyJ9"],
    ["X-MS-CLIENT-PRINCIPAL-NAME", "root"],
    ["X-MS-CLIENT-PRINCIPAL-ID", "1"],
    ["X-MS-CLIENT-PRINCIPAL-IDP", "aad"],
    ["X-MS-TOKEN-AAD-ACCESS-TOKEN", "ey"],
    ["X-MS-TOKEN-AAD-REFRESH-TOKEN", "0.A"],
    ["x-ms-authorization-auxiliary", "Bearer ey"],
    ["X-Original-URL", "/admin"],
    ["X-Rewrite-URL", "/admin"],
    ["X-Original-Host", "evil.example"],
    ["X-HTTP-Method-Override", "DELETE"],
    ["X-HTTP-Method", "DELETE"],
    ["X-Method-Override", "DELETE"],
    ["Forwarded", "for=1.2.3.4"],
    ["X-Forwarded-For", "1.2.3.4"],
    ["X-Forwarded-Host", "evil.example"],
    ["X-Forwarded-Proto", "http"],
    ["X-Forwarded-Client-Cert", "By=spiffe://a"],
    ["X-Real-IP", "1.2.3.4"],
    ["True-Client-IP", "1.2.3.4"],
    ["X-Remote-User", "root"],
    ["X-Auth-Request-User", "root"],
    ["X-Amzn-Oidc-Data", "ey"],
    ["X-Goog-IAP-JWT-Assertion", "ey"],
    ["X-Envoy-Original-Path", "/admin"],
    ["X-ARR-ClientCert", "MII"],
    ["SSL-Client-Cert", "MII"],
    ["Proxy", "http://evil.example"],
    ["X_Forwarded_For", "1.2.3.4"],
    ["Content_Length", "3"],
    ["Origin", "https://spa.example"],
    ["Referer", "https://spa.example/a"],
    ["Sec-Fetch-Site", "cross-site"],
    ["Sec-WebSocket-Key", "x"],
    ["Access-Control-Request-Method", "PUT"],
    ["Baggage", "user=alice"],
  ])("%s does not pass", (name, value) => {
    expect(valuesOf(request(name, value), name.toLowerCase())).toEqual([]);
    expect(valuesOf(request(name.toUpperCase(), value), name.toLowerCase())).toEqual([]);
  });

  test.each([
    ["Accept", "application/json;odata.metadata=minimal"],
    ["Accept-Encoding", "gzip, br"],
    ["Accept-Language", "de"],
    ["Content-Type", "application/json"],
    ["Content-Encoding", "gzip"],
    ["Content-Range", "bytes 0-9/100"],
    ["Range", "bytes=0-9"],
    ["If-Match", 'W/"1"'],
    ["If-None-Match", '"a", "b"'],
    ["If-Modified-Since", "Sat, 21 Nov 2026 05:13:26 GMT"],
    ["If-Range", '"a"'],
    ["Prefer", "odata.maxpagesize=5"],
    ["ConsistencyLevel", "eventual"],
    ["OData-MaxVersion", "4.0"],
    ["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    ["tracestate", "a=b"],
    ["User-Agent", "app/1"],
    ["x-ms-version", "2024-11-04"],
    ["X-Application", "caf\u00e9"],
  ])("%s passes", (name, value) => {
    expect(valuesOf(request(name, value), name.toLowerCase())).toEqual([value]);
  });

  test.each([
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Range",
    "Host",
    "Expect",
    "Transfer-Encoding",
  ])("%s may not stand twice", (name) => {
    let refused: unknown;
    try {
      request(name, "1", "accept", "*/*", name.toLowerCase(), "1");
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(GatewayError);
    expect(refused).toMatchObject({ code: "request_malformed", reason: "duplicate_header" });
  });

  test("that is a list may have several lines, in their order", () => {
    expect(valuesOf(request("Prefer", "a", "prefer", "b"), "prefer")).toEqual(["a", "b"]);
  });
});

describe("the gateway's own request fields", () => {
  test("carry the delegated token and never the caller's", () => {
    expect(
      valuesOf(request("Authorization", "Bearer caller", "AUTHORIZATION", "Basic x"), "authorization"),
    ).toEqual(["Bearer delegated"]);
  });

  test("carry the correlation id under both names, whatever the caller says", () => {
    const lines = request("X-Correlation-Id", "theirs", "client-request-id", "theirs");
    expect(valuesOf(lines, "x-correlation-id")).toEqual(["c-1"]);
    expect(valuesOf(lines, "client-request-id")).toEqual(["c-1"]);
  });

  test.each([
    "authorization",
    "x-correlation-id, client-request-id",
    "via, authorization",
    "close, AUTHORIZATION , content-length",
  ])("survive a caller that names them in Connection: %s", (connection) => {
    const lines = downstreamRequestHeaders(["Connection", connection], { ...ours, contentLength: 5 });
    expect(valuesOf(lines, "authorization")).toEqual(["Bearer delegated"]);
    expect(valuesOf(lines, "x-correlation-id")).toEqual(["c-1"]);
    expect(valuesOf(lines, "client-request-id")).toEqual(["c-1"]);
    expect(valuesOf(lines, "via")).toEqual(["1.1 obo-gateway"]);
    expect(valuesOf(lines, "content-length")).toEqual(["5"]);
  });

  test("append this hop to Via", () => {
    expect(valuesOf(request("Via", "1.0 a", "via", "2 b"), "via")).toEqual(["1.0 a, 2 b, 1.1 obo-gateway"]);
  });

  test("state the length that was checked, not the one that was said", () => {
    const lines = downstreamRequestHeaders(["Content-Length", "999"], { ...ours, contentLength: 5 });
    expect(valuesOf(lines, "content-length")).toEqual(["5"]);
    expect(valuesOf(request("Content-Length", "999"), "content-length")).toEqual([]);
  });
});

describe("a field that Connection names", () => {
  test.each([
    ["X-Hop", ["Connection", "X-Hop", "X-Hop", "1", "X-Stay", "1"]],
    ["x-hop in another case", ["connection", "x-hop", "X-HOP", "1", "X-Stay", "1"]],
    ["a field before Connection", ["X-Hop", "1", "X-Stay", "1", "Connection", "close, x-hop"]],
    [
      "fields of two Connection lines",
      ["Connection", "a", "Connection", "x-hop", "X-Hop", "1", "X-Stay", "1"],
    ],
    ["blanks around the name", ["Connection", " ,\t x-hop ,,", "X-Hop", "1", "X-Stay", "1"]],
  ])("is stripped from a request: %s", (_, caller) => {
    const lines = request(...caller);
    expect(valuesOf(lines, "x-hop")).toEqual([]);
    expect(valuesOf(lines, "x-stay")).toEqual(["1"]);
  });

  test.each<[string, Record<string, string | string[]>]>([
    ["one line", { connection: "x-hop", "x-hop": "1", "x-stay": "1" }],
    ["two lines", { connection: ["close", "X-Hop"], "x-hop": ["1", "2"], "x-stay": "1" }],
  ])("is stripped from an answer: %s", (_, answer) => {
    expect(response(answer)).toEqual(["x-stay", "1"]);
  });
});

describe("an answer's header field", () => {
  test.each([
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    "authentication-info",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "alt-svc",
    "strict-transport-security",
    "public-key-pins",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "timing-allow-origin",
    "x-correlation-id",
    "x-accel-redirect",
    "x-sendfile",
    "x-ms-token-aad-access-token",
    "x-ms-client-principal-name",
  ])("%s does not pass", (name) => {
    expect(response({ [name]: "x" })).toEqual([]);
    expect(response({ [name]: ["x", "y"] })).toEqual([]);
  });

  test.each([
    "content-type",
    "content-length",
    "content-encoding",
    "content-range",
    "content-disposition",
    "accept-ranges",
    "cache-control",
    "date",
    "etag",
    "last-modified",
    "location",
    "link",
    "odata-version",
    "preference-applied",
    "request-id",
    "client-request-id",
    "x-ms-ags-diagnostic",
    "retry-after",
    "vary",
    "warning",
  ])("%s passes", (name) => {
    expect(response({ [name]: "x" })).toEqual([name, "x"]);
  });

  test("of several lines keeps them apart", () => {
    expect(response({ link: ["<a>", "<b>"] })).toEqual(["link", "<a>", "link", "<b>"]);
  });

  test("content-length is left out of a 204, where it means nothing, and kept in a 304", () => {
    expect(response({ "content-length": "5" }, 204)).toEqual([]);
    expect(response({ "content-length": "5" }, 304)).toEqual(["content-length", "5"]);
  });
});

describe("a request for an answer without content coding", () => {
  const lines = downstreamRequestHeaders(["Accept-Encoding", "gzip", "accept", "*/*"], {
    ...ours,
    identityCoding: true,
  });

  test("says so, whatever the caller takes, and keeps the caller's other fields", () => {
    expect(valuesOf(lines, "accept-encoding")).toEqual(["identity"]);
    expect(valuesOf(lines, "accept")).toEqual(["*/*"]);
  });

  test("is not made unless it is asked for", () => {
    expect(valuesOf(request(), "accept-encoding")).toEqual([]);
    const unasked = downstreamRequestHeaders(["accept-encoding", "br"], { ...ours, identityCoding: false });
    expect(valuesOf(unasked, "accept-encoding")).toEqual(["br"]);
  });
});

describe("the caller's end of the connection", () => {
  const forwarded = (hop: { for?: string; proto?: string; host?: string | undefined }) => {
    const lines = downstreamRequestHeaders([], {
      ...ours,
      forwarded: { for: "192.0.2.7", proto: "https", host: undefined, ...hop },
    });
    return Object.fromEntries(
      ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map((name) => [
        name,
        valuesOf(lines, name).join(),
      ]),
    );
  };

  test("is not stated where the API is not to know", () => {
    expect(request().filter((_, index) => index % 2 === 0)).toEqual([
      "authorization",
      "via",
      "x-correlation-id",
      "client-request-id",
    ]);
  });

  test("is stated with its address and scheme", () => {
    expect(forwarded({})).toEqual({
      forwarded: "for=192.0.2.7;proto=https",
      "x-forwarded-for": "192.0.2.7",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "",
    });
  });

  test("is quoted and bracketed as an IPv6 address, in the field that RFC 7239 defines", () => {
    expect(forwarded({ for: "2001:db8::7", proto: "http" })).toMatchObject({
      forwarded: 'for="[2001:db8::7]";proto=http',
      "x-forwarded-for": "2001:db8::7",
    });
  });

  test.each(["gateway.example", "a", "gateway.example:8", "gateway.example:65535", "x_1-2.example"])(
    "is stated with its host: %s",
    (host) => {
      expect(forwarded({ host })).toMatchObject({
        forwarded: `for=192.0.2.7;proto=https;host="${host}"`,
        "x-forwarded-host": host,
      });
    },
  );

  test.each([
    "",
    'a";for=evil',
    "a b",
    "a,b",
    "[::1]",
    "a:",
    "a:x",
    "a:123456",
    ":80",
    "a:80:80",
    "a/b",
    "a\n",
  ])("is stated without a host that may not stand in quotes: %j", (host) => {
    expect(forwarded({ host })).toMatchObject({
      forwarded: "for=192.0.2.7;proto=https",
      "x-forwarded-host": "",
    });
  });
});

describe("lines of an answer's fields", () => {
  const added = (answer: Record<string, string | string[]>, options = {}) => {
    const lines = ["there", "already"];
    addResponseHeaders(lines, 200, answer, options);
    return lines.slice(2);
  };

  test("follow those that are there already", () => {
    const lines = ["there", "already"];
    addResponseHeaders(lines, 200, { etag: "1" }, {});
    expect(lines).toEqual(["there", "already", "etag", "1"]);
  });

  test("leave out what would not be true of what the caller gets", () => {
    expect(added({ etag: "1", digest: "2" }, { unlike: new Set(["digest"]) })).toEqual(["etag", "1"]);
  });

  test("leave out what the gateway fills in itself, and keep the API's vary beside the gateway's", () => {
    const own = new Set(["vary", "cache-control"]);
    expect(added({ vary: "accept", "cache-control": "no-store", etag: "1" }, { own })).toEqual([
      "vary",
      "accept",
      "etag",
      "1",
    ]);
  });

  test("follow the rules of the API", () => {
    const { response: rules } = headerRulesOf(apiAt(1, { headers: { response: { deny: ["etag"] } } }));
    expect(added({ etag: "1", age: "2" }, { rules })).toEqual(["age", "2"]);
  });
});

describe("rules of an API", () => {
  const rulesOf = (request: { allow?: string[]; deny?: string[] }) =>
    headerRulesOf(apiAt(1, { headers: { request } })).request;

  test("are those of every API where nothing is configured", () => {
    expect(headerRulesOf(apiAt(1))).toBe(headerRulesOf(apiAt(2)));
    expect(headerRulesOf(apiAt(1, { actsAs: "app" })).request).not.toBe(headerRulesOf(apiAt(1)).request);
    expect(headerRulesOf(apiAt(1, { headers: {} }))).not.toBe(headerRulesOf(apiAt(1)));
  });

  test("are compiled once", () => {
    const api = apiAt(1, { headers: { request: { allow: ["cookie"] } } });
    expect(headerRulesOf(api)).toBe(headerRulesOf(api));
  });

  test("are changed for an API alone, by each direction's lists", () => {
    expect(isDropped(rulesOf({ allow: ["Cookie"] }), "cookie")).toBe(false);
    expect(isDropped(rulesOf({}), "cookie")).toBe(true);
    expect(isDropped(rulesOf({ deny: ["Accept"] }), "accept")).toBe(true);
    expect(isDropped(rulesOf({ deny: ["Accept"] }), "accept-language")).toBe(false);
    expect(
      isDropped(
        headerRulesOf(apiAt(1, { headers: { request: { allow: ["cookie"] } } })).response,
        "set-cookie",
      ),
    ).toBe(true);
  });

  test.each(["x y", " x", "x:", "x,y", "", 'x"', "x\r", "ü", "x(", "Host"])(
    "do not open %j, which is no name of a field or is fixed",
    (name) => {
      let refused: unknown;
      try {
        rulesOf({ allow: ["cookie", name] });
      } catch (error) {
        refused = error;
      }
      expect(refused).toBeInstanceOf(ConfigurationError);
      expect((refused as ConfigurationError).faults).toEqual([
        {
          path: "downstreamApis.graph.headers.request.allow",
          problem: `"${name.toLowerCase()}" cannot be let through`,
        },
      ]);
    },
  );

  test("name the direction and the API of a fault", () => {
    expect(() =>
      headerRulesOf(apiAt(1, { name: "files", headers: { response: { allow: ["www-authenticate"] } } })),
    ).toThrow(
      expect.objectContaining({
        faults: [expect.objectContaining({ path: "downstreamApis.files.headers.response.allow" })],
      }),
    );
  });
});

describe("the head of an answer to the caller", () => {
  let write: (outgoing: ServerResponse) => void = () => {};
  const server = createServer((_, outgoing) => {
    write(outgoing);
    outgoing.end();
  });
  beforeAll(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterAll(() => {
    server.close();
  });

  /** Status and the lines of a field as they come over the wire. */
  async function written(writing: (outgoing: ServerResponse) => void) {
    write = (outgoing) => {
      outgoing.sendDate = false;
      writing(outgoing);
    };
    const { port } = server.address() as AddressInfo;
    const [answer] = (await once(getOver({ port, agent: false }), "response")) as [IncomingMessage];
    answer.resume();
    await once(answer, "close");
    return { status: answer.statusCode, of: (name: string) => valuesOf(answer.rawHeaders, name) };
  }

  const fields = {
    etag: "1",
    "content-length": "0",
    "content-md5": "a",
    digest: "b",
    "content-digest": "c",
    "repr-digest": "d",
  };

  test("has the API's status and fields", async () => {
    const head = await written((outgoing) =>
      writeResponseHead(outgoing, 203, { ...fields, link: ["<a>", "<b>"] }),
    );
    expect(head.status).toBe(203);
    for (const [name, value] of Object.entries(fields))
      expect([name, head.of(name)]).toEqual([name, [value]]);
    expect(head.of("link")).toEqual(["<a>", "<b>"]);
    expect(head.of("www-authenticate")).toEqual([]);
  });

  test("says nothing of the API's bytes where the body is rewritten", async () => {
    const head = await written((outgoing) => writeResponseHead(outgoing, 200, fields, { isRewritten: true }));
    expect(head.of("etag")).toEqual(["1"]);
    for (const name of ["content-length", "content-md5", "digest", "content-digest", "repr-digest"])
      expect([name, head.of(name)]).toEqual([name, []]);
  });

  test("has the length that the caller will see, in place of the API's", async () => {
    const head = await written((outgoing) =>
      writeResponseHead(outgoing, 200, { ...fields, "content-length": "7" }, { bodyLength: 0 }),
    );
    expect(head.of("content-length")).toEqual(["0"]);
    expect(head.of("digest")).toEqual(["b"]);
  });

  test("follows the API's rules", async () => {
    const { response: rules } = headerRulesOf(apiAt(1, { headers: { response: { deny: ["etag"] } } }));
    expect(
      (await written((outgoing) => writeResponseHead(outgoing, 200, fields, { rules }))).of("etag"),
    ).toEqual([]);
  });

  test.each([
    [401, {}, ["Bearer"]],
    [401, { challenge: 'Bearer realm="x"' }, ['Bearer realm="x"']],
    [403, { challenge: 'Bearer realm="x"' }, []],
    [400, {}, []],
  ])(
    "of status %i names a challenge of the gateway's where it is due: %j",
    async (status, options, expected) => {
      const answer = { "www-authenticate": "Negotiate" };
      expect(
        (await written((outgoing) => writeResponseHead(outgoing, status, answer, options))).of(
          "www-authenticate",
        ),
      ).toEqual(expected);
    },
  );

  test("has the gateway's fields and the correlation id, which the API's do not replace", async () => {
    const own = fixedFields(["cache-control", "no-store", "vary", "origin"]);
    const head = await written((outgoing) =>
      writeResponseHead(
        outgoing,
        200,
        { "cache-control": "public", vary: "accept", etag: "1" },
        { own, correlationId: "c-7" },
      ),
    );
    expect(head.of("cache-control")).toEqual(["no-store"]);
    expect(head.of("vary")).toEqual(["origin", "accept"]);
    expect(head.of("x-correlation-id")).toEqual(["c-7"]);
    expect(head.of("etag")).toEqual(["1"]);
  });

  test("has no correlation id unless the gateway's fields go along", async () => {
    const head = await written((outgoing) => writeResponseHead(outgoing, 200, {}, { correlationId: "c-7" }));
    expect(head.of("x-correlation-id")).toEqual([]);
  });

  test("leaves what is set on the response already, joins vary, and keeps lines apart", async () => {
    const head = await written((outgoing) => {
      outgoing.setHeader("Cache-Control", "no-store");
      outgoing.setHeader("vary", "origin");
      writeResponseHead(outgoing, 207, {
        "cache-control": "public",
        vary: "accept",
        link: ["<a>", "<b>"],
        etag: "1",
      });
    });
    expect(head.status).toBe(207);
    expect(head.of("Cache-Control")).toEqual(["no-store"]);
    expect(head.of("cache-control")).toEqual([]);
    expect(head.of("vary")).toEqual(["origin", "accept"]);
    expect(head.of("link")).toEqual(["<a>", "<b>"]);
    expect(head.of("etag")).toEqual(["1"]);
  });
});

describe("a stream of events", () => {
  test.each([
    ["text/event-stream", true],
    ["Text/Event-Stream; charset=utf-8", true],
    ["  text/event-stream ;x", true],
    ["text/event-stream  ", true],
    ["text/event-streams", false],
    ["x-text/event-stream", false],
    ["text/event-stream charset", false],
    ["application/json", false],
  ])("is known by its type: %j", (type, is) => {
    expect(isEventStream({ "content-type": type })).toBe(is);
  });

  test("is none without a type, or with two", () => {
    expect(isEventStream({})).toBe(false);
    expect(isEventStream({ "content-type": ["text/event-stream"] as unknown as string })).toBe(false);
  });
});
