/** The header fields that a gateway keeps from passing, in each direction, as data with the reason for each group. */

/** Lower-case field names and prefixes of names that are not passed on. */
export interface HeaderRules {
  readonly names: ReadonlySet<string>;
  readonly prefixes: readonly string[];
  /** Names that pass in spite of names and prefixes. */
  readonly allowed?: ReadonlySet<string>;
  /** Where it is there, nothing passes but these names, and `allowed`. */
  readonly only?: ReadonlySet<string> | undefined;
}

/** Fields that are dropped for one reason. */
export interface FieldGroup {
  readonly reason: string;
  /** Whether configuration may let them through: not where that would break the message or the gateway's promises. */
  readonly isFixed: boolean;
  /** Whether a field of the group says who is calling. Routes with `as: app` never let such a field through. */
  readonly namesSomebody?: boolean;
  readonly names: readonly string[];
  readonly prefixes?: readonly string[];
}

const HOP_BY_HOP: FieldGroup = {
  reason:
    "Fields of one connection, not of the message (RFC 9110 §7.6.1), besides those that `Connection` itself names. Trailers are dropped, so announcing them would be a lie.",
  isFixed: true,
  names: [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
  ],
};

/** Fields of a caller that do not reach the API. All others pass, conditional and range fields included. */
export const REQUEST_GROUPS: readonly FieldGroup[] = [
  HOP_BY_HOP,
  {
    reason:
      "Written by the gateway: the delegated token, the API's own host, the length that was checked, the ids of this request, this hop. It answers `100 Continue` itself when it wants the body (RFC 9110 §10.1.1).",
    isFixed: true,
    names: [
      "authorization",
      "client-request-id",
      "content-length",
      "expect",
      "host",
      "via",
      "x-correlation-id",
    ],
  },
  {
    reason:
      "The handle by which a job acts for a user at the gateway. With or without delegations there, it is no API's to know.",
    isFixed: true,
    names: ["delegation"],
  },
  {
    reason: "Make the API see another method than the one that the route's rules allowed.",
    isFixed: true,
    names: ["http-method-override", "x-http-override", "x-method", "x-method-override"],
    prefixes: ["x-http-method"],
  },
  {
    reason: "Make the API see another path than the one that the route's rules allowed.",
    isFixed: true,
    names: [
      "x-http-destinationurl",
      "x-http-path-override",
      "x-original-url",
      "x-override-url",
      "x-proxy-url",
      "x-rewrite-url",
    ],
    prefixes: ["x-rewrite-", "x-waws-"],
  },
  {
    reason: "Name another host to an API that serves several.",
    isFixed: false,
    names: ["disguised-host", "was-default-hostname", "x-host", "x-host-override", "x-http-host-override"],
  },
  {
    reason: "Credentials of the caller that were meant for the gateway, or for no one behind it.",
    isFixed: false,
    namesSomebody: true,
    names: [
      "access-token",
      "cookie",
      "cookie2",
      "id-token",
      "x-access-token",
      "x-id-token",
      "x-identity",
      "x-identity-token",
      "x-refresh-token",
      "x-serverless-authorization",
      "x-token",
    ],
    prefixes: ["x-authorization", "x-ms-authorization-", "x-ms-token-", "x-token-"],
  },
  {
    reason:
      "Ask the API to act for another user than the token's: Dataverse, Kubernetes, Azure DevOps Server, Power BI, and the products of other vendors.",
    isFixed: false,
    namesSomebody: true,
    names: [
      "act-as",
      "as-user",
      "assume-user",
      "callerobjectid",
      "es-security-runas-user",
      "impersonate",
      "impersonate-user",
      "mscrmcallerid",
      "on-behalf-of",
      "run-as",
      "sudo",
      "x-act-as",
      "x-on-behalf-of",
      "x-powerbi-profile-id",
      "x-presto-user",
      "x-redmine-switch-user",
      "x-run-as",
      "x-scope-orgid",
      "x-tfs-impersonate",
      "x-trino-original-user",
      "x-trino-user",
      "x-vss-userdata",
    ],
    prefixes: ["dropbox-api-select-", "impersonate-", "x-docusign-act-", "x-egnyte-act-as", "x-impersonat"],
  },
  {
    reason:
      "State who is calling, as identity-aware proxies and single sign-on agents do for the servers behind them; only a hop that the API trusts may.",
    isFixed: false,
    namesSomebody: true,
    names: [
      "eppn",
      "persistent-id",
      "sm-user",
      "sm-userdn",
      "smuser",
      "teleport-jwt-assertion",
      "x-anonymous-consumer",
      "x-email",
      "x-groups",
      "x-roles",
      "x-user",
      "x-user-claims",
      "x-user-email",
      "x-user-groups",
      "x-user-id",
      "x-user-name",
      "x-user-role",
      "x-user-roles",
      "x-userid",
      "x-userinfo",
      "x-username",
    ],
    prefixes: [
      "$ws",
      "iv-",
      "oam-",
      "oidc-",
      "remote-",
      "shib-",
      "tailscale-user-",
      "x-amzn-oidc-",
      "x-apigateway-api-",
      "x-appengine-",
      "x-auth-",
      "x-authenticated-",
      "x-authentik-",
      "x-consumer-",
      "x-credential-",
      "x-endpoint-api-",
      "x-goog-authenticated-",
      "x-goog-iap-",
      "x-jwt-",
      "x-ms-client-principal",
      "x-pomerium-",
      "x-remote-",
      "x-vouch-",
      "x-webauth-",
    ],
  },
  {
    reason:
      "State which client certificate the caller showed to a hop in front (RFC 9440, and the fields before it).",
    isFixed: false,
    namesSomebody: true,
    names: [
      "client-cert",
      "client-cert-chain",
      "x-client-cert",
      "x-client-cert-chain",
      "x-client-certificate",
      "x-client-dn",
      "x-client-subject",
      "x-client-verify",
    ],
    prefixes: ["ssl-client-", "x-amzn-mtls-", "x-ssl-"],
  },
  {
    reason: "State where the caller is, or which way the request came.",
    isFixed: false,
    names: [
      "client-ip",
      "fastly-client-ip",
      "fly-client-ip",
      "forwarded",
      "true-client-ip",
      "x-client-ip",
      "x-clientip",
      "x-cluster-client-ip",
      "x-custom-ip-authorization",
      "x-forwarded",
      "x-ms-endpoint-absolute-path",
      "x-ms-proxy",
      "x-originating-ip",
      "x-proxyuser-ip",
      "x-real-ip",
      "x-site-deployment-id",
      "x-source-ip",
    ],
    prefixes: [
      "cf-",
      "wl-proxy-",
      "x-akamai-",
      "x-appservice-",
      "x-arr-",
      "x-azure-",
      "x-envoy-",
      "x-fd-",
      "x-forwarded-",
      "x-ms-adfs-",
      "x-ms-forwarded-",
      "x-original-",
    ],
  },
  {
    reason: "CGI turns `Proxy` into HTTP_PROXY; `Proxy-Client-IP` and its like state where the caller is.",
    isFixed: false,
    names: ["proxy"],
    prefixes: ["proxy-"],
  },
  {
    reason: "The browser's relation to the gateway, not the gateway's to the API. CORS ends here.",
    isFixed: false,
    names: ["origin", "referer"],
    prefixes: ["access-control-request-", "sec-"],
  },
  {
    reason:
      "May name things of the caller's own systems; trace context proper (`traceparent`) passes (W3C Baggage §4).",
    isFixed: false,
    names: ["baggage"],
  },
];

/** Fields of an API's answer that do not reach the caller. All others pass. */
export const RESPONSE_GROUPS: readonly FieldGroup[] = [
  HOP_BY_HOP,
  {
    reason:
      "Name a token for the API; the caller needs one for the gateway. The gateway writes its own challenge when a 401 passes through.",
    isFixed: true,
    names: ["authentication-info", "www-authenticate"],
  },
  {
    reason: "Written by the gateway before the answer is passed on.",
    isFixed: true,
    names: ["x-correlation-id"],
  },
  {
    reason: "State and policy of the gateway's own origin, not the API's to set.",
    isFixed: false,
    names: [
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
    ],
    prefixes: ["access-control-"],
  },
  {
    reason: "Orders to a web server in front of the gateway to send a file of its own.",
    isFixed: false,
    names: ["x-accel-redirect", "x-lighttpd-send-file", "x-sendfile"],
  },
  {
    reason: "State who is calling, to a server in front of the gateway.",
    isFixed: false,
    names: [],
    prefixes: ["x-ms-client-principal", "x-ms-token-"],
  },
];

/**
 * The fields of a caller that reach the API on a route with `as: app`, whose token has the application's own rights: what
 * the caller accepts and sends, conditions, ranges, preferences, versions of protocols, and trace context. An API's
 * `headers.request.allow` adds to them.
 */
export const APPLICATION_FIELDS: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "consistencylevel",
  "content-digest",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-md5",
  "content-range",
  "content-type",
  "digest",
  "idempotency-key",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-event-id",
  "mcp-method",
  "mcp-name",
  "mcp-protocol-version",
  "mcp-session-id",
  "odata-isolation",
  "odata-maxversion",
  "odata-version",
  "pragma",
  "prefer",
  "priority",
  "range",
  "repeatability-first-sent",
  "repeatability-request-id",
  "repr-digest",
  "return-client-request-id",
  "traceparent",
  "tracestate",
  "user-agent",
  "want-content-digest",
  "want-repr-digest",
  "x-requested-with",
]);

const rulesOf = (groups: readonly FieldGroup[]): HeaderRules => ({
  names: new Set(groups.flatMap(({ names }) => names)),
  prefixes: groups.flatMap(({ prefixes = [] }) => prefixes),
});

export const REQUEST_RULES = rulesOf(REQUEST_GROUPS);
export const RESPONSE_RULES = rulesOf(RESPONSE_GROUPS);

/** No configuration lets these pass, in either direction. */
export const FIXED_RULES = rulesOf([...REQUEST_GROUPS, ...RESPONSE_GROUPS].filter(({ isFixed }) => isFixed));

/** Fields that say who is calling. */
export const IDENTITY_RULES = rulesOf(REQUEST_GROUPS.filter(({ namesSomebody }) => namesSomebody));

/**
 * Fields that decide what the body is, and to which session of MCP it belongs. Servers disagree on which of two lines
 * counts, so a request with two is refused rather than passed on (RFC 9110 §5.3 allows several lines only for lists).
 */
export const SINGLE_REQUEST_FIELDS: ReadonlySet<string> = new Set([
  "content-length",
  "content-range",
  "content-type",
  "expect",
  "host",
  "last-event-id",
  "mcp-method",
  "mcp-name",
  "mcp-protocol-version",
  "mcp-session-id",
  "range",
  "transfer-encoding",
]);
