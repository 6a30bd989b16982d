/** Overlays and components: what they add, and that each rule over it finds a copy that was broken for it. */

import { beforeAll, describe, expect, test } from "@jest/globals";
import type { Deployed, Deployment, Manifest } from "./kinds.ts";
import { findRenderer, renderWithComponents, sortByKind } from "./kustomize.ts";
import { overlayFaults, subjectOfSetup } from "./overlay-rules.ts";

const renderer = findRenderer();
const able = renderer?.rendersOverlays === true;
const subject = subjectOfSetup();

const render = (directory: string): Deployed => sortByKind(renderer?.render(directory) ?? []);
const withComponents = (...names: string[]): Deployed =>
  sortByKind(renderer === undefined ? [] : renderWithComponents(renderer, "docker/aks", names));

const kindsOf = ({ all }: Deployed) => all.map(({ kind }) => kind);

(able ? describe : describe.skip)("overlays", () => {
  test.each([
    ["dev", []],
    ["prod", ["HorizontalPodAutoscaler", "HTTPRoute", "PodMonitor"]],
  ])("%s adds %j to the base", (name, added) => {
    const base = kindsOf(render("docker/aks/base"));
    const overlay = kindsOf(render(`docker/aks/overlays/${name}`));
    expect(overlay.toSorted()).toEqual([...base, ...added].toSorted());
  });

  test("Redis brings no object and no secret of its own", () => {
    const deployed = withComponents("redis");
    expect(kindsOf(deployed).toSorted()).toEqual(kindsOf(render("docker/aks/base")).toSorted());
    expect(JSON.stringify(deployed.all)).not.toMatch(/rediss?:\/\/|ACCESS_KEY/);
  });

  test("Redis by Entra brings no Secret, no password and no key: a URL, a word, and a file of the vault", () => {
    const deployed = withComponents("redis-entra");
    expect(kindsOf(deployed)).toContain("SecretProviderClass");
    expect(deployed.deployment.spec.template.spec.containers[0]?.env).toEqual(
      expect.arrayContaining([
        { name: "REDIS_URL", value: "rediss://name.region.redis.azure.net:10000" },
        { name: "REDIS_AUTH", value: "entra" },
        { name: "TOKEN_CACHE_KEYS_FILE", value: "/var/run/secrets/obo-gateway-redis/token-cache-keys" },
      ]),
    );
    expect(JSON.stringify(deployed.all)).not.toMatch(/secretKeyRef|"kind":"Secret"|ACCESS_KEY/);
    expect(overlayFaults(deployed, subject)).toEqual([]);
  });

  test("a certificate from Key Vault is mounted where the gateway looks for it, and no Secret is made", () => {
    const deployed = withComponents("key-vault-certificate");
    expect(kindsOf(deployed)).toContain("SecretProviderClass");
    expect(deployed.deployment.spec.template.spec.containers[0]?.env).toContainEqual({
      name: "AZURE_CLIENT_CERTIFICATE_PATH",
      value: "/var/run/secrets/obo-gateway/gateway.pem",
    });
  });
});

(able ? describe : describe.skip)("a broken copy of Redis by Entra is found out", () => {
  const variables = (deployed: Deployed) => deployed.deployment.spec.template.spec.containers[0]?.env ?? [];
  const set = (name: string, value: string) => (deployed: Deployed) => {
    const variable = variables(deployed).find((one) => one.name === name);
    if (variable !== undefined) variable.value = value;
  };
  test.each<[string, (deployed: Deployed) => void]>([
    [
      "REDIS_URL holds a password, or no TLS, although Redis is signed in to with tokens",
      set("REDIS_URL", "rediss://:key@name.region.redis.azure.net:10000"),
    ],
    [
      "REDIS_URL holds a password, or no TLS, although Redis is signed in to with tokens",
      set("REDIS_URL", "redis://name.region.redis.azure.net:10000"),
    ],
    [
      "TOKEN_CACHE_KEYS_FILE does not lead to the vault's file",
      set("TOKEN_CACHE_KEYS_FILE", "/var/run/secrets/keys"),
    ],
    ["REDIS_URL stands in the tree", set("REDIS_AUTH", "password")],
    [
      "Redis takes both REDIS_URL and TOKEN_CACHE_KEYS",
      (deployed) =>
        void variables(deployed).push({
          name: "TOKEN_CACHE_KEYS",
          valueFrom: { secretKeyRef: { name: "redis", key: "keys" } },
        }),
    ],
  ])("%s", (fault, break_) => {
    const deployed = withComponents("redis-entra");
    break_(deployed);
    expect(overlayFaults(deployed, subject)).toEqual([fault]);
  });
});

(able ? describe : describe.skip)("a broken copy is found out", () => {
  let intact: Deployed;
  beforeAll(() => {
    intact = withComponents("autoscaling", "http-route", "pod-monitor", "redis", "key-vault-certificate");
  });

  type Spec = Record<string, never> & { [key: string]: unknown };
  const the = (deployed: Deployed, kind: string) =>
    deployed.all.find((one) => one.kind === kind) as Manifest & { spec: Spec };
  const merge = (kind: string, spec: object) => (deployed: Deployed) =>
    void Object.assign(the(deployed, kind).spec, spec);

  const removeVariable = (deployment: Deployment, name: string) => {
    for (const container of deployment.spec.template.spec.containers)
      container.env = (container.env ?? []).filter((one) => one.name !== name);
  };

  test.each<[string, (deployed: Deployed) => void]>([
    [
      "the autoscaler scales something else",
      merge("HorizontalPodAutoscaler", { scaleTargetRef: { kind: "Deployment", name: "gateway" } }),
    ],
    [
      "the autoscaler's range leaves no room or no second pod",
      merge("HorizontalPodAutoscaler", { minReplicas: 1 }),
    ],
    [
      "the autoscaler's range leaves no room or no second pod",
      merge("HorizontalPodAutoscaler", { maxReplicas: 3 }),
    ],
    [
      "each apply sets back what the autoscaler chose",
      ({ deployment }) => {
        deployment.spec.replicas = 3;
      },
    ],
    [
      "the autoscaler takes caches away in haste",
      merge("HorizontalPodAutoscaler", { behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } }),
    ],
    [
      "the route attaches to every listener of the Gateway, plain HTTP included",
      merge("HTTPRoute", { parentRefs: [{ name: "public" }] }),
    ],
    ["the route takes other hosts' requests", merge("HTTPRoute", { hostnames: ["*.example"] })],
    [
      "the route leads to a Service or port that is not there",
      merge("HTTPRoute", { rules: [{ backendRefs: [{ name: "obo-gateway", port: 8081 }] }] }),
    ],
    [
      "the monitor selects other pods",
      merge("PodMonitor", { selector: { matchLabels: { app: "gateway" } } }),
    ],
    [
      "the monitor does not ask /metrics on the admin port",
      merge("PodMonitor", { podMetricsEndpoints: [{ port: "http", path: "/metrics" }] }),
    ],
    [
      "AZURE_CLIENT_CERTIFICATE_PATH does not lead to the vault's file",
      merge("SecretProviderClass", { parameters: { objects: "objectAlias: other.pem" } }),
    ],
    [
      "Redis takes both REDIS_URL and TOKEN_CACHE_KEYS",
      ({ deployment }) => removeVariable(deployment, "REDIS_URL"),
    ],
    [
      "TOKEN_CACHE_KEYS stands in the tree",
      ({ deployment }) => {
        removeVariable(deployment, "TOKEN_CACHE_KEYS");
        deployment.spec.template.spec.containers[0]?.env?.push({ name: "TOKEN_CACHE_KEYS", value: "AAAA" });
      },
    ],
    [
      "the network policy does not let out to Redis",
      ({ networkPolicy }) => void networkPolicy.spec.egress?.pop(),
    ],
    ["the vault's key is copied into a Secret", merge("SecretProviderClass", { secretObjects: [] })],
    [
      "the PodMonitor is in another namespace",
      (deployed) => {
        delete the(deployed, "PodMonitor").metadata.namespace;
      },
    ],
  ])("%s", (fault, break_) => {
    const copy = sortByKind(structuredClone(intact.all));
    break_(copy);
    expect(overlayFaults(copy, subject)).toEqual([fault]);
  });
});
