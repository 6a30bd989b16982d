/** The doctor runs in the cluster with the pod of the new Deployment, and before any pod is replaced. */

import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { parse } from "yaml";
import { doctorJob } from "../../docker/setup/doctor-job.mjs";

const deployment = parse(readFileSync("docker/aks/base/deployment.yaml", "utf8"));
const job = doctorJob([{ kind: "ConfigMap" }, deployment]);
const pod = job.spec.template.spec;
const gateway = deployment.spec.template;

test("the pod is the gateway's own: image, service account, environment and files", () => {
  const [container] = pod.containers;
  const [original] = gateway.spec.containers;
  for (const key of ["image", "env", "envFrom", "volumeMounts", "securityContext", "resources"])
    expect(container[key]).toEqual(original[key]);
  for (const key of ["serviceAccountName", "volumes", "securityContext"])
    expect(pod[key]).toEqual(gateway.spec[key]);
  expect(container.command).toEqual(["node", "dist/doctor/main.js", "--skip", "ports"]);
  expect(job.spec.template.metadata.labels).toMatchObject({ "azure.workload.identity/use": "true" });
});

test("it runs once, ends in time, and gets no requests of callers", () => {
  expect(job.spec).toMatchObject({ backoffLimit: 0, activeDeadlineSeconds: expect.any(Number) });
  expect(pod.restartPolicy).toBe("Never");
  const service = parse(readFileSync("docker/aks/base/service.yaml", "utf8"));
  expect(job.spec.template.metadata.labels).not.toMatchObject(service.spec.selector);
  for (const probe of ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "ports"])
    expect(pod.containers[0]).not.toHaveProperty(probe);
});

test("an overlay without a Deployment is an error", () => {
  expect(() => doctorJob([])).toThrow("no Deployment");
});

test("the workflow runs it after the dry run and before it applies", () => {
  const { jobs } = parse(readFileSync(".github/workflows/deploy.yaml", "utf8"));
  const scripts = (jobs.deploy.steps as { run?: string }[]).map(({ run = "" }) => run);
  const at = (text: string) => scripts.findIndex((script) => script.includes(text));
  expect(at("--dry-run=server")).toBeGreaterThanOrEqual(0);
  expect(at("doctor-job.mjs")).toBeGreaterThan(at("--dry-run=server"));
  expect(scripts.findIndex((script) => script.trim() === "kubectl apply -f rendered.yaml")).toBeGreaterThan(
    at("doctor-job.mjs"),
  );
});
