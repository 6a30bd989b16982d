/** Every way to break a deployment that a rule must find, and the sentence that it must find it with. */

import type { Deployed } from "./kinds.ts";

/** New values by path, keys separated by spaces; `undefined` deletes. */
export type Edits = Readonly<Record<string, unknown>>;

const at = (path: string, edits: Edits): Edits =>
  Object.fromEntries(Object.entries(edits).map(([key, value]) => [`${path} ${key}`, value]));
const pod = (edits: Edits) => at("deployment spec template", edits);
const gateway = (edits: Edits) => pod(at("spec containers 0", edits));
const security = (edits: Edits) => gateway(at("securityContext", edits));
const policy = (edits: Edits) => at("networkPolicy spec", edits);

const HARDENED = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true };

export const BROKEN_POD_SECURITY: [fault: string, edits: Edits][] = [
  ["pod: hostNetwork shares the node's namespace", pod({ "spec hostNetwork": true })],
  ["pod: hostPID shares the node's namespace", pod({ "spec hostPID": true })],
  ["pod: hostIPC shares the node's namespace", pod({ "spec hostIPC": true })],
  ["pod: volume type hostPath is forbidden", pod({ "spec volumes 2": { name: "node", hostPath: {} } })],
  ["pod: sets kernel parameters", pod({ "spec securityContext sysctls": [{ name: "kernel.msgmax" }] })],
  [
    "pod: AppArmor is switched off",
    pod({
      "metadata annotations": { "container.apparmor.security.beta.kubernetes.io/gateway": "unconfined" },
    }),
  ],
  ["gateway: is privileged", security({ privileged: true })],
  ["gateway: may gain privileges", security({ allowPrivilegeEscalation: undefined })],
  ["gateway: unmasks /proc", security({ procMount: "Unmasked" })],
  ["gateway: keeps capabilities", security({ "capabilities drop 0": "NET_RAW" })],
  ["gateway: adds capabilities", security({ "capabilities add": ["NET_RAW"] })],
  ["gateway: takes a port of the node", gateway({ "ports 0 hostPort": 8080 })],
  ["gateway: does not refuse to run as root", pod({ "spec securityContext runAsNonRoot": undefined })],
  ["gateway: runs as root", security({ runAsUser: 0 })],
  ["gateway: has no seccomp filter", pod({ "spec securityContext seccompProfile": undefined })],
  ["gateway: has AppArmor switched off", security({ appArmorProfile: { type: "Unconfined" } })],
  ["gateway: leaves its user to the image", pod({ "spec securityContext runAsUser": undefined })],
  ["gateway: can write to its root file system", security({ readOnlyRootFilesystem: undefined })],
  ["init: keeps capabilities", pod({ "spec initContainers": [{ name: "init", securityContext: HARDENED }] })],
];

export const BROKEN_DEPLOYMENT: [fault: string, edits: Edits][] = [
  [
    "the pod does not carry the workload identity label",
    pod({ "metadata labels azure.workload.identity/use": undefined }),
  ],
  ["the pod does not run as the service account", pod({ "spec serviceAccountName": undefined })],
  [
    "the federated credential's subject names another service account",
    // What a namespace in an overlay does.
    Object.fromEntries(
      ["serviceAccount", "deployment", "service", "budget", "networkPolicy", "configMap"].map((one) => [
        `${one} metadata namespace`,
        "prod",
      ]),
    ),
  ],
  [
    // What a name prefix in an overlay does.
    "the federated credential's subject names another service account",
    { "serviceAccount metadata name": "dev-gateway", ...pod({ "spec serviceAccountName": "dev-gateway" }) },
  ],
  ["the client id is not a GUID", { "serviceAccount metadata annotations": undefined }],
  [
    "the tenant id is not a GUID",
    { "serviceAccount metadata annotations azure.workload.identity/tenant-id": "contoso" },
  ],
  [
    "the privileged proxy sidecar is asked for",
    pod({ "metadata annotations": { "azure.workload.identity/inject-proxy-sidecar": "false" } }),
  ],
  [
    "the token's path is fixed instead of injected",
    gateway({ "env 1": { name: "AZURE_FEDERATED_TOKEN_FILE", value: "/var/run/token" } }),
  ],
  ["a token for the Kubernetes API is mounted", pod({ "spec automountServiceAccountToken": undefined })],
  ["a token for the Kubernetes API is mounted", { "serviceAccount automountServiceAccountToken": true }],

  ["the Deployment selects other pods", { "deployment spec selector matchLabels": { app: "other" } }],
  ["the Service selects other pods", { "service spec selector": { app: "other" } }],
  ["the PodDisruptionBudget selects other pods", { "budget spec selector matchLabels": { app: "other" } }],
  ["the NetworkPolicy selects other pods", policy({ "podSelector matchLabels": { app: "other" } })],
  ["the Service leads to a port that the pod does not have", { "service spec ports 0 targetPort": "web" }],
  [
    "the ConfigMap's name has no hash, so a change would not roll the pods",
    { "configMap metadata name": "plain", ...pod({ "spec volumes 0 configMap name": "plain" }) },
  ],
  [
    "GATEWAY_CONFIG does not lead to a file of the ConfigMap",
    gateway({ "volumeMounts 0 mountPath": "/elsewhere" }),
  ],

  ["the startupProbe does not ask /livez on the admin port", gateway({ startupProbe: undefined })],
  [
    "the livenessProbe does not ask /livez on the admin port",
    gateway({ "livenessProbe httpGet path": "/readyz" }),
  ],
  [
    "the readinessProbe does not ask /readyz on the admin port",
    gateway({ "readinessProbe httpGet port": "http" }),
  ],
  [
    "nothing gives balancers time before SIGTERM",
    gateway({ "lifecycle preStop": { exec: { command: ["sleep", "10"] } } }),
  ],
  ["the pod is killed before its drain is over", pod({ "spec terminationGracePeriodSeconds": 35 })],
  ["there is no second replica", { "deployment spec replicas": undefined }],
  [
    "a rollout takes a replica away before its successor is ready",
    { "deployment spec strategy rollingUpdate maxUnavailable": "25%" },
  ],
  [
    "the disruption budget does not let nodes drain one pod at a time",
    { "budget spec unhealthyPodEvictionPolicy": undefined },
  ],
  [
    "pods are not spread over topology.kubernetes.io/zone",
    pod({ "spec topologySpreadConstraints 0 matchLabelKeys": undefined }),
  ],
  [
    "pods are not spread over kubernetes.io/hostname",
    pod({ "spec topologySpreadConstraints 1 topologyKey": "topology.kubernetes.io/region" }),
  ],

  ["the image may change under its name", gateway({ image: "obo-gateway:latest" })],
  ["the image may change under its name", gateway({ image: "registry.example:5000/obo-gateway" })],
  ["the requests are below what AKS accepts", gateway({ "resources requests cpu": "50m" })],
  ["the limits leave CPU or memory to chance", gateway({ "resources limits cpu": undefined })],
  [
    "the caches may fill more than half of the heap",
    gateway({ "resources requests memory": "256Mi", "resources limits memory": "256Mi" }),
  ],
  ["the volume tmp has no size limit", pod({ "spec volumes 1 emptyDir": {} })],

  [
    "the namespace does not enforce the restricted profile",
    { "namespace metadata labels pod-security.kubernetes.io/enforce": "baseline" },
  ],
  [
    "a Secret stands in the tree",
    { "all 7": { kind: "Secret", metadata: { name: "client", namespace: "obo-gateway" } } },
  ],
  ["other services' addresses are put into the environment", pod({ "spec enableServiceLinks": undefined })],
  ["the Service exposes the admin port", { "service spec ports 1": { port: 81, targetPort: "admin" } }],
  ["the network policy leaves a direction open", policy({ "policyTypes 1": "Ingress" })],
  ["the network policy admits everybody or every port", policy({ "ingress 0 from": undefined })],
  ["the network policy admits everybody or every port", policy({ "ingress 1 ports": undefined })],
  ...(
    [
      { "ingress 1 from 1": { podSelector: {} } },
      { "ingress 1 from 1": { namespaceSelector: {} } },
      { "ingress 1 from 1": { ipBlock: { cidr: "10.0.0.0/8" } } },
      { "ingress 1 from 0 namespaceSelector matchLabels": { "obo-gateway/callers": "true" } },
      { "ingress 1 from 0 namespaceSelector matchLabels": { "obo-gateway/monitoring": "false" } },
      { "ingress 0 ports 1": { port: "admin" } },
      { "ingress 0 ports 1": { port: 8081 } },
    ] as Edits[]
  ).map((edits): [string, Edits] => [
    "the network policy admits others than the monitoring namespaces to the admin port",
    policy(edits),
  ]),
  ["the metadata endpoint is within reach", policy({ "egress 1 to 0 ipBlock except": ["10.0.0.0/8"] })],
  ["the network policy lets out to everywhere or every port", policy({ "egress 0 to": undefined })],
];

export function brokenCopy(deployed: Deployed, edits: Edits): Deployed {
  const copy = structuredClone(deployed);
  for (const [path, value] of Object.entries(edits)) {
    const keys = path.split(" ");
    const last = keys.pop() ?? "";
    let node = copy as unknown as Record<string, unknown>;
    for (const key of keys) {
      const next = node[key];
      // A path that leads nowhere would break nothing, and its rule would seem to be at fault.
      if (next === null || typeof next !== "object") throw new Error(`${path}: nothing at ${key}`);
      node = next as Record<string, unknown>;
    }
    if (value === undefined) delete node[last];
    else node[last] = value;
  }
  return copy;
}
