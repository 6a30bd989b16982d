import { describe, expect, test } from "@jest/globals";
import { callerResponseHeaders, downstreamRequestHeaders } from "../../../src/downstream/headers/headers.ts";
import { GatewayError } from "../../../src/errors.ts";
import { Secret } from "../../../src/foundation/secret.ts";

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
