/** The component that puts the gateway beside an application: what it adds to the application's Deployment, and no more. */

import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Deployment } from "kubernetes-models/apps/v1";
import { stringify } from "yaml";
import { loadConfig } from "../../src/config/load.ts";
import type { Container, Deployed, Manifest } from "./kinds.ts";
import { findRenderer } from "./kustomize.ts";

const COMPONENT = "docker/aks/components/sidecar";
const renderer = findRenderer();
const able = renderer?.rendersOverlays === true;

const application = (labels: Record<string, string>) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "orders", namespace: "orders", labels },
  spec: {
    selector: { matchLabels: { app: "orders" } },
    template: {
      metadata: { labels: { app: "orders" } },
      spec: { containers: [{ name: "orders", image: "orders:1" }] },
    },
  },
});

function renderBeside(labels: Record<string, string>): Manifest[] {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "sidecar-")));
  try {
    writeFileSync(join(directory, "app.yaml"), stringify(application(labels)));
    const component = relative(directory, realpathSync(COMPONENT));
    writeFileSync(
      join(directory, "kustomization.yaml"),
      stringify({ namespace: "orders", resources: ["app.yaml"], components: [component] }),
    );
    return renderer?.render(directory) ?? [];
  } finally {
    rmSync(directory, { recursive: true });
  }
}

type Beside = Deployed["deployment"] & {
  spec: {
    template: { spec: { initContainers?: (Container & { restartPolicy?: string })[]; volumes?: unknown[] } };
  };
};
const deploymentOf = (all: Manifest[]) => all.find(({ kind }) => kind === "Deployment") as unknown as Beside;

(able ? describe : describe.skip)("beside an application with the label", () => {
  let all: Manifest[];
  beforeAll(() => {
    all = renderBeside({ "obo-gateway/sidecar": "true" });
  });

  test("stands one container that starts first and stays, for this pod alone", () => {
    const { spec } = deploymentOf(all);
    const [gateway, ...more] = spec.template.spec.initContainers ?? [];
    expect(more).toEqual([]);
    expect(gateway).toMatchObject({
      name: "obo-gateway",
      restartPolicy: "Always",
      env: expect.arrayContaining([
        { name: "LOCAL_PORT", value: "5178" },
        { name: "HOST", value: "127.0.0.1" },
      ]),
      securityContext: { runAsNonRoot: true, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
    });
    expect(gateway?.ports).toBeUndefined();
    expect(spec.template.metadata.labels).toMatchObject({
      "azure.workload.identity/use": "true",
      app: "orders",
    });
    expect(spec.template.spec.containers.map(({ name }) => name)).toEqual(["orders"]);
    expect(() => new Deployment(deploymentOf(all) as never).validate()).not.toThrow();
  });

  test("its configuration is mounted by the name that it was given, in the application's namespace", () => {
    const config = all.find(({ kind }) => kind === "ConfigMap");
    expect(config?.metadata).toMatchObject({ namespace: "orders" });
    expect(deploymentOf(all).spec.template.spec.volumes).toEqual([
      { name: "obo-gateway-sidecar", configMap: { name: config?.metadata.name } },
    ]);
    expect(all.map(({ kind }) => kind).toSorted()).toEqual(["ConfigMap", "Deployment"]);
  });

  test("an application without the label is left alone", () => {
    expect(deploymentOf(renderBeside({})).spec.template.spec.initContainers).toBeUndefined();
  });
});

describe("its gateway.yaml", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "sidecar-"));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test("loads with the variables of the container", () => {
    const file = join(directory, "gateway.yaml");
    writeFileSync(file, readFileSync(join(COMPONENT, "gateway.yaml")));
    const config = loadConfig({
      GATEWAY_CONFIG: file,
      LOCAL_PORT: "5178",
      AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
      AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
      AZURE_FEDERATED_TOKEN_FILE: "/var/run/secrets/token",
    });
    expect(config.local).toMatchObject({ port: 5178, apis: { graph: { applicationTokens: false } } });
  });
});
