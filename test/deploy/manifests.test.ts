/** The base's rules: each of them finds a copy that was broken for it. */

import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { BROKEN_DEPLOYMENT, BROKEN_POD_SECURITY, brokenCopy } from "./broken-copies.ts";
import type { Deployed } from "./kinds.ts";
import { findRenderer, sortByKind } from "./kustomize.ts";
import { gatewayConfig, overlayFaults, subjectOfSetup } from "./overlay-rules.ts";

const renderer = findRenderer();
const subject = subjectOfSetup();

function render(directory: string): Deployed {
  if (renderer === undefined) throw new Error("no renderer");
  return sortByKind(renderer.render(directory));
}

function imageOf({ deployment }: Deployed): string | undefined {
  return deployment.spec.template.spec.containers[0]?.image;
}

(renderer === undefined ? describe.skip : describe)("the base", () => {
  let intact: Deployed;
  beforeAll(() => {
    intact = render("docker/aks/base");
  });

  test("keeps every promise on which the broken copies stand", () => {
    expect(overlayFaults(intact, subject)).toEqual([]);
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
      expect(overlayFaults(brokenCopy(intact, edits), subject)).toEqual([fault]);
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
