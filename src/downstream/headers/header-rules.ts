/** Which header fields a gateway may pass on, in each direction, as data. */

/** Lower-case field names and prefixes of names that are not passed on. */
export interface HeaderRules {
  readonly names: ReadonlySet<string>;
  readonly prefixes: readonly string[];
  /** Names that pass in spite of a prefix. */
  readonly allowed?: ReadonlySet<string>;
}

/** Fields of one connection, not of the message (RFC 9110 §7.6.1), besides those that `Connection` itself names. */
const HOP_BY_HOP = [
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  // Trailers are dropped, so announcing them would be a lie.
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** What a caller may not say to a downstream API. Everything else passes, conditional and range fields included. */
export const REQUEST_RULES: HeaderRules = {
  names: new Set([
    ...HOP_BY_HOP,
    // Ours: the delegated token, the API's own host, the length we checked, the ids of this request, our hop.
    "authorization",
    "client-request-id",
    "content-length",
    "host",
    "via",
    "x-correlation-id",
    // Consumed here: the gateway answers `100 Continue` itself when it wants the body (RFC 9110 §10.1.1).
    "expect",
    // Credentials of the caller that were meant for the gateway, or for nobody.
    "cookie",
    "cookie2",
    "x-ms-authorization-auxiliary",
    // These make the API see another method or path than the one that the route's rules judged.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    // Claims about who is calling and from where; only a hop that the API trusts may make them.
    "cf-connecting-ip",
    "forwarded",
    "remote-user",
    "true-client-ip",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
    "x-remote-user",
    // CGI turns it into HTTP_PROXY.
    "proxy",
    // The browser's relation to the gateway, not the gateway's to the API. CORS ends here.
    "origin",
    "referer",
    // May name things of the caller's own systems; trace context proper (`traceparent`) passes (W3C Baggage §4).
    "baggage",
  ]),
  prefixes: [
    "access-control-request-",
    "sec-",
    "ssl-client-",
    "x-amzn-oidc-",
    "x-arr-",
    "x-auth-request-",
    "x-authenticated-",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-original-",
    "x-ssl-client-",
  ],
};

/** What a downstream API may not say to a caller in the gateway's name. Everything else passes. */
export const RESPONSE_RULES: HeaderRules = {
  names: new Set([
    ...HOP_BY_HOP,
    // Names a token for the API; the caller needs one for the gateway. Ours, when a 401 passes through.
    "authentication-info",
    "www-authenticate",
    // Ours, set before the answer is written.
    "x-correlation-id",
    // State and policy of the gateway's own origin, not the API's to set.
    "alt-svc",
    "clear-site-data",
    "expect-ct",
    "nel",
    "origin-agent-cluster",
    "public-key-pins",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "timing-allow-origin",
    // Orders to a web server in front of the gateway to send a file of its own.
    "x-accel-redirect",
    "x-lighttpd-send-file",
    "x-sendfile",
  ]),
  prefixes: ["access-control-", "x-ms-client-principal", "x-ms-token-"],
};

/**
 * No configuration lets these pass: they frame the message, or carry the caller's token, or make the API see another
 * request than the one that was judged, or are the gateway's to say.
 */
export const FIXED_FIELDS: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  "authorization",
  "client-request-id",
  "content-length",
  "expect",
  "host",
  "via",
  "www-authenticate",
  "x-correlation-id",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-original-url",
  "x-rewrite-url",
]);

/**
 * Fields that decide what the body is. Servers disagree on which of two lines counts, so a request with two is
 * refused rather than passed on (RFC 9110 §5.3 allows several lines only for lists).
 */
export const SINGLE_REQUEST_FIELDS: ReadonlySet<string> = new Set([
  "content-length",
  "content-range",
  "content-type",
  "expect",
  "host",
  "range",
  "transfer-encoding",
]);
