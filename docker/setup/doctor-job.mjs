/**
 * A Job that runs the doctor with the pod of a rendered Deployment: same image, service account, environment and files,
 * so that what the doctor finds is what the new pods will find. Reads `kubectl kustomize`'s output, prints the Job and
 * the objects that its pod needs.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseAllDocuments, stringify } from "yaml";

export const DOCTOR = "obo-gateway-doctor";
const NEEDED = ["ConfigMap", "SecretProviderClass", "ServiceAccount"];

/** @param {readonly any[]} objects Of one overlay, rendered. */
export function doctorJob(objects) {
  const deployment = objects.find(({ kind }) => kind === "Deployment");
  if (deployment === undefined) throw new Error("the rendered overlay holds no Deployment");
  const { metadata, spec } = deployment.spec.template;
  const [container] = spec.containers;
  const {
    livenessProbe: _live,
    readinessProbe: _ready,
    startupProbe: _start,
    lifecycle: _end,
    ports: _ports,
    ...rest
  } = container;
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: DOCTOR, namespace: deployment.metadata.namespace },
    spec: {
      backoffLimit: 0,
      activeDeadlineSeconds: 180,
      ttlSecondsAfterFinished: 600,
      template: {
        // Labels of its own: the gateway's Service must not send requests to it.
        metadata: {
          annotations: metadata.annotations ?? {},
          labels: {
            ...Object.fromEntries(
              Object.entries(metadata.labels).filter(([name]) => name.startsWith("azure.workload.identity/")),
            ),
            "app.kubernetes.io/name": DOCTOR,
          },
        },
        spec: {
          ...spec,
          topologySpreadConstraints: [],
          restartPolicy: "Never",
          containers: [
            { ...rest, name: "doctor", command: ["node", "dist/doctor/main.js", "--skip", "ports"] },
          ],
        },
      },
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const objects = parseAllDocuments(readFileSync(process.argv[2] ?? "rendered.yaml", "utf8"))
    .map((document) => document.toJS())
    .filter((object) => object !== null);
  const needed = objects.filter(({ kind }) => NEEDED.includes(kind));
  console.log([...needed, doctorJob(objects)].map((object) => stringify(object)).join("---\n"));
}
