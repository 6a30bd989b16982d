/** Configurations of proxies that no test here can run: their shape, as the documentation of each gives it, and what must not be missing. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";

const read = (path: string) => readFileSync(`docker/${path}`, "utf8");

/** `StringMatcher` of Envoy, as far as the file uses it. */
const matchers = z.strictObject({
  patterns: z
    .array(z.union([z.strictObject({ exact: z.string() }), z.strictObject({ prefix: z.string() })]))
    .min(1),
});

/** envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, by HTTP. */
const extAuthz = z.strictObject({
  "@type": z.literal("type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"),
  failure_mode_allow: z.literal(false),
  status_on_error: z.strictObject({ code: z.literal("ServiceUnavailable") }),
  clear_route_cache: z.literal(false),
  http_service: z.strictObject({
    path_prefix: z.literal("/forward-auth"),
    server_uri: z.strictObject({ uri: z.url(), cluster: z.string(), timeout: z.string().regex(/^\d+s$/) }),
    authorization_request: z.strictObject({ allowed_headers: matchers }),
    authorization_response: z.strictObject({
      allowed_upstream_headers: matchers,
      allowed_client_headers: matchers,
    }),
  }),
});

const address = z.strictObject({
  socket_address: z.strictObject({ address: z.string(), port_value: z.int() }),
});

const router = z.strictObject({
  "@type": z.literal("type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"),
});

const connectionManager = z.strictObject({
  "@type": z.literal(
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  ),
  stat_prefix: z.string(),
  max_request_headers_kb: z.int().max(8_192),
  normalize_path: z.literal(false),
  merge_slashes: z.literal(false),
  path_with_escaped_slashes_action: z.literal("KEEP_UNCHANGED"),
  route_config: z.strictObject({
    virtual_hosts: z.array(
      z.strictObject({
        name: z.string(),
        domains: z.array(z.string()),
        routes: z.array(
          z.strictObject({
            match: z.strictObject({ prefix: z.string() }),
            route: z.strictObject({ cluster: z.string(), prefix_rewrite: z.string() }),
            request_headers_to_remove: z.array(z.string()),
          }),
        ),
      }),
    ),
  }),
  http_filters: z.tuple([
    z.strictObject({ name: z.literal("envoy.filters.http.ext_authz"), typed_config: extAuthz }),
    // The router is the last: what stands behind it never runs.
    z.strictObject({ name: z.literal("envoy.filters.http.router"), typed_config: router }),
  ]),
});

const envoy = z.strictObject({
  static_resources: z.strictObject({
    listeners: z.array(
      z.strictObject({
        name: z.string(),
        address,
        filter_chains: z.array(
          z.strictObject({
            filters: z.array(
              z.strictObject({
                name: z.literal("envoy.filters.network.http_connection_manager"),
                typed_config: connectionManager,
              }),
            ),
          }),
        ),
      }),
    ),
    clusters: z.array(
      z.strictObject({
        name: z.string(),
        type: z.enum(["STATIC", "STRICT_DNS"]),
        connect_timeout: z.string(),
        load_assignment: z.strictObject({
          cluster_name: z.string(),
          endpoints: z.array(
            z.strictObject({
              lb_endpoints: z.array(z.strictObject({ endpoint: z.strictObject({ address }) })),
            }),
          ),
        }),
      }),
    ),
  }),
});

/** MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationHttpProvider of Istio. */
const istioProvider = z.strictObject({
  name: z.string(),
  envoyExtAuthzHttp: z.strictObject({
    service: z.string(),
    port: z.int(),
    pathPrefix: z.literal("/forward-auth"),
    timeout: z.string(),
    failOpen: z.literal(false),
    statusOnError: z.string(),
    includeRequestHeadersInCheck: z.array(z.string()),
    headersToUpstreamOnAllow: z.array(z.string()),
    headersToDownstreamOnDeny: z.array(z.string()),
  }),
});

const traefik = z.strictObject({
  http: z.strictObject({
    middlewares: z.strictObject({
      "obo-strip": z.strictObject({
        headers: z.strictObject({ customRequestHeaders: z.record(z.string(), z.literal("")) }),
      }),
      "obo-decide": z.strictObject({
        forwardAuth: z.strictObject({
          address: z.url(),
          trustForwardHeader: z.literal(false),
          authResponseHeaders: z.array(z.string()),
        }),
      }),
      "obo-prefix": z.strictObject({ stripPrefix: z.strictObject({ prefixes: z.array(z.string()) }) }),
    }),
    routers: z.record(
      z.string(),
      z.strictObject({ rule: z.string(), middlewares: z.array(z.string()), service: z.string() }),
    ),
    services: z.record(
      z.string(),
      z.strictObject({
        loadBalancer: z.strictObject({ servers: z.array(z.strictObject({ url: z.url() })) }),
      }),
    ),
  }),
});

const GRANTED = ["authorization", "x-correlation-id", "x-auth-request-user"];

describe("Envoy", () => {
  const config = envoy.parse(parse(read("envoy/envoy.yaml")));
  const manager = config.static_resources.listeners[0]?.filter_chains[0]?.filters[0]?.typed_config;
  const filter = manager?.http_filters[0].typed_config.http_service;

  test("asks before it routes, forwards the field for the API, and leads each cluster somewhere", () => {
    expect(filter?.authorization_response.allowed_upstream_headers.patterns).toEqual(
      GRANTED.map((exact) => ({ exact })),
    );
    const clusters = config.static_resources.clusters.map(({ name }) => name);
    expect(clusters).toContain(filter?.server_uri.cluster);
    for (const { routes } of manager?.route_config.virtual_hosts ?? [])
      for (const { route } of routes) expect(clusters).toContain(route.cluster);
  });

  test("passes challenge and retry-after of a refusal on", () => {
    const told = JSON.stringify(filter?.authorization_response.allowed_client_headers);
    for (const name of ["www-authenticate", "retry-after", "allow", "content-type"])
      expect(told).toContain(name);
  });

  test("a copy that lets pass where the gateway does not answer is found out", () => {
    const open = read("envoy/envoy.yaml").replace("failure_mode_allow: false", "failure_mode_allow: true");
    expect(envoy.safeParse(parse(open)).success).toBe(false);
    const misspelt = read("envoy/envoy.yaml").replace("allowed_upstream_headers", "allowed_upstream_header");
    expect(envoy.safeParse(parse(misspelt)).success).toBe(false);
  });
});

describe("Istio", () => {
  const documents = parseAllDocuments(read("envoy/istio.yaml")).map((one) => one.toJS());

  test("its provider fails closed, forwards the field for the API, and is the one that the policy names", () => {
    const [operator, entry, policy] = documents;
    const [provider] = z.array(istioProvider).length(1).parse(operator.spec.meshConfig.extensionProviders);
    expect(provider?.envoyExtAuthzHttp.headersToUpstreamOnAllow).toEqual(GRANTED);
    expect(provider?.envoyExtAuthzHttp.includeRequestHeadersInCheck).toContain("authorization");
    expect(policy.spec).toMatchObject({ action: "CUSTOM", provider: { name: provider?.name } });
    expect(entry.spec.hosts).toEqual([provider?.envoyExtAuthzHttp.service]);
    expect(entry.spec.ports[0].number).toBe(provider?.envoyExtAuthzHttp.port);
  });
});

describe("Traefik", () => {
  test("strips before it asks, asks before it cuts the prefix off, and takes the answer's fields", () => {
    const { http } = traefik.parse(parse(read("traefik/dynamic.yaml")));
    expect(http.routers.orders?.middlewares).toEqual(["obo-strip", "obo-decide", "obo-prefix"]);
    const fields = http.middlewares["obo-decide"].forwardAuth.authResponseHeaders;
    expect(fields.map((name) => name.toLowerCase())).toEqual(GRANTED);
    expect(http.services).toHaveProperty(http.routers.orders?.service ?? "");
  });
});

describe("Gateway API", () => {
  test("is a valid HTTPRoute but for the filter of the experimental channel, whose parts are those of its proposal", () => {
    const route = parse(read("envoy/gateway-api.yaml"));
    const [rule] = route.spec.rules;
    const [external, ...others] = rule.filters;
    z.strictObject({
      type: z.literal("ExternalAuth"),
      externalAuth: z.strictObject({
        protocol: z.literal("HTTP"),
        backendRef: z.strictObject({ name: z.string(), port: z.int() }),
        http: z.strictObject({
          path: z.literal("/forward-auth"),
          allowedHeaders: z.array(z.string()),
          allowedResponseHeaders: z.array(z.string()),
        }),
      }),
    }).parse(external);
    expect(external.externalAuth.http.allowedResponseHeaders).toEqual(GRANTED);
    const standard = { ...route, spec: { ...route.spec, rules: [{ ...rule, filters: others }] } };
    expect(() => new HTTPRoute(standard).validate()).not.toThrow();
  });
});
