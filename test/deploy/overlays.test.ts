/** Overlays and components, rendered: what they add keeps the base's promises and its own. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { componentFaults } from "./component-rules.ts";
import { deploymentFaults } from "./deployment-rules.ts";
import type { Deployed, Manifest } from "./kinds.ts";
import { findRenderer, sortByKind } from "./kustomize.ts";
import { podSecurityFaults } from "./pod-security.ts";

const renderer = findRenderer();
const able = renderer?.rendersOverlays === true;

const render = (directory: string): Deployed => sortByKind(renderer?.render(directory) ?? []);

/** The base with these components, in a directory of its own outside of the tree, as an operator's would be. */
function withComponents(...names: string[]): Deployed {
  const directory = mkdtempSync(join(tmpdir(), "overlay-"));
  const path = (part: string) => relative(directory, resolve("docker/aks", part));
  try {
    const kustomization = {
      resources: [path("base")],
      components: names.map((name) => path(`components/${name}`)),
    };
    writeFileSync(join(directory, "kustomization.yaml"), JSON.stringify(kustomization));
    return render(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const faultsOf = (deployed: Deployed): string[] => [
  ...podSecurityFaults(deployed.deployment.spec.template),
  ...deploymentFaults(deployed, {
    subject: "system:serviceaccount:obo-gateway:obo-gateway",
    drainSeconds: 25,
    cacheBytes: 128 * 2 ** 20,
  }),
  ...componentFaults(deployed),
];

const kindsOf = ({ all }: Deployed) => all.map(({ kind }) => kind);

(able ? describe : describe.skip)("overlays", () => {
  test.each([
    ["dev", []],
    ["prod", ["HorizontalPodAutoscaler", "HTTPRoute", "PodMonitor"]],
  ])("%s keeps every promise, and adds %j", (name, added) => {
    const base = kindsOf(render("docker/aks/base"));
    const overlay = render(`docker/aks/overlays/${name}`);
    expect(faultsOf(overlay)).toEqual([]);
    expect(kindsOf(overlay).toSorted()).toEqual([...base, ...added].toSorted());
  });

  test("a certificate from Key Vault is mounted where the gateway looks for it, and no Secret is made", () => {
    const deployed = withComponents("key-vault-certificate");
    expect(faultsOf(deployed)).toEqual([]);
    expect(kindsOf(deployed)).toContain("SecretProviderClass");
    expect(deployed.deployment.spec.template.spec.containers[0]?.env).toContainEqual({
      name: "AZURE_CLIENT_CERTIFICATE_PATH",
      value: "/var/run/secrets/obo-gateway/gateway.pem",
    });
  });

  test("all components together get along", () => {
    const all = withComponents("autoscaling", "http-route", "pod-monitor", "key-vault-certificate");
    // Host and Gateway stay the component's until an overlay names its own.
    expect(faultsOf(all)).toEqual([]);
  });
});

(able ? describe : describe.skip)("a broken copy is found out", () => {
  let intact: Deployed;
  beforeAll(() => {
    intact = withComponents("autoscaling", "http-route", "pod-monitor", "key-vault-certificate");
  });

  type Spec = Record<string, never> & { [key: string]: unknown };
  const the = (deployed: Deployed, kind: string) =>
    deployed.all.find((one) => one.kind === kind) as Manifest & { spec: Spec };
  const merge = (kind: string, spec: object) => (deployed: Deployed) =>
    void Object.assign(the(deployed, kind).spec, spec);

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
      "the HorizontalPodAutoscaler has an unknown field minReplica",
      merge("HorizontalPodAutoscaler", { minReplica: 3 }),
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
    expect(faultsOf(copy)).toEqual([fault]);
  });
});
