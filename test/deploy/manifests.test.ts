import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { type GatewayConfig, loadConfig } from "../../src/config.ts";
import { BROKEN_DEPLOYMENT, BROKEN_POD_SECURITY, brokenCopy } from "./broken-copies.ts";
import { deploymentFaults } from "./deployment-rules.ts";
import type { Deployed } from "./kinds.ts";
import { findRenderer, sortByKind } from "./kustomize.ts";
import { podSecurityFaults } from "./pod-security.ts";

const renderer = findRenderer();
if (renderer === undefined)
  process.stderr.write("manifest tests left out: neither kustomize nor kubectl is on PATH\n");
else if (!renderer.rendersOverlays)
  process.stderr.write(
    "overlay tests left out: this kubectl is too old for overlays, 1.21 or later is needed\n",
  );

test("a renderer for the manifests is installed where CI runs", () => {
  expect(process.env.CI !== "true" || renderer !== undefined).toBe(true);
});

function render(directory: string): Deployed {
  if (renderer === undefined) throw new Error("no renderer");
  return sortByKind(renderer.render(directory));
}

/** The ConfigMap's gateway.yaml as the gateway reads it, with what the webhook puts into the environment. */
function gatewayConfig({ configMap }: Deployed): GatewayConfig {
  const directory = mkdtempSync(join(tmpdir(), "gateway-config-"));
  try {
    const file = join(directory, "gateway.yaml");
    writeFileSync(file, configMap.data["gateway.yaml"] ?? "");
    return loadConfig({
      GATEWAY_CONFIG: file,
      AZURE_TENANT_ID: "22222222-2222-2222-2222-222222222222",
      AZURE_CLIENT_ID: "11111111-1111-1111-1111-111111111111",
      AZURE_FEDERATED_TOKEN_FILE: "/injected/token",
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function faultsOf(deployed: Deployed): string[] {
  const config = gatewayConfig(deployed);
  return [
    ...podSecurityFaults(deployed.deployment.spec.template),
    ...deploymentFaults(deployed, {
      subject: "system:serviceaccount:obo-gateway:obo-gateway",
      drainSeconds: config.http.shutdownGraceSeconds,
      cacheBytes: config.exchange.cache.maxBytes,
    }),
  ];
}

function imageOf({ deployment }: Deployed): string | undefined {
  return deployment.spec.template.spec.containers[0]?.image;
}

(renderer === undefined ? describe.skip : describe)("the base", () => {
  let intact: Deployed;
  beforeAll(() => {
    intact = render("docker/aks/base");
  });

  test("keeps every promise of pod security, federation, life, capacity and exposure", () => {
    expect(faultsOf(intact)).toEqual([]);
  });

  test("carries a configuration with which a pod that has only its federated token can start", () => {
    expect(gatewayConfig(intact).credential.sources).toEqual(["workload-identity"]);
  });

  test("holds one object of each kind, and no secret, role or cluster-wide kind besides the namespace", () => {
    expect(intact.all.map(({ kind }) => kind).toSorted()).toEqual([
      "ConfigMap",
      "Deployment",
      "Namespace",
      "NetworkPolicy",
      "PodDisruptionBudget",
      "Service",
      "ServiceAccount",
    ]);
  });

  test.each([...BROKEN_POD_SECURITY, ...BROKEN_DEPLOYMENT])(
    "a broken copy is found out: %s",
    (fault, edits) => {
      expect(faultsOf(brokenCopy(intact, edits))).toEqual([fault]);
    },
  );

  test("two objects of a kind, or none, are refused instead of checking one of them", () => {
    const { all } = intact;
    expect(() => sortByKind([...all, ...all])).toThrow("expected one Namespace, rendered 2");
    expect(() => sortByKind(all.filter(({ kind }) => kind !== "NetworkPolicy"))).toThrow(
      "expected one NetworkPolicy, rendered 0",
    );
  });
});

(renderer?.rendersOverlays === true ? describe : describe.skip)("the example overlay", () => {
  const overlay = () => render("docker/aks/overlays/example");

  test("keeps every promise of the base", () => {
    expect(faultsOf(overlay())).toEqual([]);
  });

  test("changes nothing but client id, tenant id and image", () => {
    const base = render("docker/aks/base");
    const example = overlay();
    expect(example.serviceAccount.metadata.annotations).toEqual({
      "azure.workload.identity/client-id": expect.not.stringMatching(/^0/),
      "azure.workload.identity/tenant-id": expect.not.stringMatching(/^0/),
    });
    expect(imageOf(example)).not.toBe(imageOf(base));
    for (const deployed of [base, example]) {
      delete deployed.serviceAccount.metadata.annotations;
      for (const container of deployed.deployment.spec.template.spec.containers) delete container.image;
    }
    expect(example).toEqual(base);
  });
});

test("the manifests' configuration serves the routes of the default one", () => {
  const read = (file: string) => parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  const { identity, downstreamApis, routes } = read("config/gateway.yaml");
  expect(read("docker/aks/base/gateway.yaml")).toMatchObject({ identity, downstreamApis, routes });
});
