/** What must hold between the objects of a deployment so that it federates, serves, rolls and stops as promised. */

import type { Container, Deployed, Peer, PodSpec } from "./kinds.ts";

const GUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const MONITORING = "obo-gateway/monitoring";
const METADATA_ENDPOINTS = ["169.254.169.254/32", "168.63.129.16/32"];

/** What the rules need to know of the gateway's own configuration in the ConfigMap. */
export interface Expected {
  /** Subject of the federated credential on the app registration. */
  readonly subject: string;
  readonly drainSeconds: number;
  readonly cacheBytes: number;
}

/** One sentence for each promise that is not kept. */
export function deploymentFaults(deployed: Deployed, expected: Expected): string[] {
  return [
    ...federationFaults(deployed, expected.subject),
    ...referenceFaults(deployed),
    ...lifeFaults(deployed, expected.drainSeconds),
    ...capacityFaults(deployed, expected.cacheBytes),
    ...exposureFaults(deployed),
  ];
}

function federationFaults({ deployment, serviceAccount }: Deployed, subject: string): string[] {
  const { template } = deployment.spec;
  const annotations = { ...serviceAccount.metadata.annotations, ...template.metadata.annotations };
  const { namespace, name } = serviceAccount.metadata;
  const faults: string[] = [];
  if (template.metadata.labels?.["azure.workload.identity/use"] !== "true")
    faults.push("the pod does not carry the workload identity label");
  if (deployment.metadata.namespace !== namespace || template.spec.serviceAccountName !== name)
    faults.push("the pod does not run as the service account");
  if (`system:serviceaccount:${namespace}:${name}` !== subject)
    faults.push("the federated credential's subject names another service account");
  if (!GUID.test(annotations["azure.workload.identity/client-id"] ?? ""))
    faults.push("the client id is not a GUID");
  const tenant = annotations["azure.workload.identity/tenant-id"];
  if (tenant !== undefined && !GUID.test(tenant)) faults.push("the tenant id is not a GUID");
  // Presence alone switches it on, whatever the value, and adds a privileged container.
  if ("azure.workload.identity/inject-proxy-sidecar" in annotations)
    faults.push("the privileged proxy sidecar is asked for");
  // The webhook keeps a value that is already there, and the path differs between its versions.
  if (gatewayOf(template.spec).env?.some(({ name }) => name === "AZURE_FEDERATED_TOKEN_FILE"))
    faults.push("the token's path is fixed instead of injected");
  if (
    template.spec.automountServiceAccountToken !== false ||
    serviceAccount.automountServiceAccountToken !== false
  )
    faults.push("a token for the Kubernetes API is mounted");
  return faults;
}

function referenceFaults({ deployment, service, budget, networkPolicy, configMap }: Deployed): string[] {
  const { metadata, spec } = deployment.spec.template;
  const container = gatewayOf(spec);
  const faults: string[] = [];
  const selectors = {
    Deployment: deployment.spec.selector.matchLabels,
    Service: service.spec.selector,
    PodDisruptionBudget: budget.spec.selector.matchLabels,
    NetworkPolicy: networkPolicy.spec.podSelector.matchLabels ?? {},
  };
  for (const [kind, selector] of Object.entries(selectors))
    if (!Object.entries(selector).every(([key, value]) => metadata.labels?.[key] === value))
      faults.push(`the ${kind} selects other pods`);
  if (service.spec.ports.some(({ targetPort }) => !container.ports?.some(({ name }) => name === targetPort)))
    faults.push("the Service leads to a port that the pod does not have");

  if (!/-[a-z0-9]{10}$/.test(configMap.metadata.name))
    faults.push("the ConfigMap's name has no hash, so a change would not roll the pods");
  const volume = spec.volumes?.find((candidate) => candidate.configMap?.name === configMap.metadata.name);
  const mount = container.volumeMounts?.find(({ name }) => name === volume?.name);
  const file = container.env?.find(({ name }) => name === "GATEWAY_CONFIG")?.value;
  if (!Object.keys(configMap.data).some((key) => file === `${mount?.mountPath}/${key}`))
    faults.push("GATEWAY_CONFIG does not lead to a file of the ConfigMap");
  return faults;
}

function lifeFaults({ all, deployment, budget }: Deployed, drainSeconds: number): string[] {
  const { spec } = deployment.spec.template;
  const container = gatewayOf(spec);
  const faults: string[] = [];
  const probes = { startupProbe: "/livez", livenessProbe: "/livez", readinessProbe: "/readyz" } as const;
  for (const [probe, path] of Object.entries(probes) as [keyof typeof probes, string][]) {
    const asked = container[probe]?.httpGet;
    if (asked?.path !== path || asked.port !== "admin")
      faults.push(`the ${probe} does not ask ${path} on the admin port`);
  }
  // An exec hook would need a shell or a binary in the image.
  const pause = container.lifecycle?.preStop?.sleep?.seconds;
  if (pause === undefined) faults.push("nothing gives balancers time before SIGTERM");
  if ((spec.terminationGracePeriodSeconds ?? 30) <= (pause ?? 0) + drainSeconds)
    faults.push("the pod is killed before its drain is over");
  // An autoscaler that is there owns the number; component-rules.ts judges it.
  const autoscaled = all.some(({ kind }) => kind === "HorizontalPodAutoscaler");
  if (!autoscaled && (deployment.spec.replicas ?? 1) < 2) faults.push("there is no second replica");
  if (deployment.spec.strategy?.rollingUpdate?.maxUnavailable !== 0)
    faults.push("a rollout takes a replica away before its successor is ready");
  if (budget.spec.maxUnavailable !== 1 || budget.spec.unhealthyPodEvictionPolicy !== "AlwaysAllow")
    faults.push("the disruption budget does not let nodes drain one pod at a time");
  for (const key of ["topology.kubernetes.io/zone", "kubernetes.io/hostname"])
    if (
      !spec.topologySpreadConstraints?.some(
        (constraint) =>
          constraint.topologyKey === key && constraint.matchLabelKeys?.includes("pod-template-hash") === true,
      )
    )
      faults.push(`pods are not spread over ${key}`);
  return faults;
}

function capacityFaults({ deployment }: Deployed, cacheBytes: number): string[] {
  const { spec } = deployment.spec.template;
  const { image = "", resources: { requests = {}, limits = {} } = {} } = gatewayOf(spec);
  const faults: string[] = [];
  if (!/@sha256:[0-9a-f]{64}$|:(?!latest$)[\w.-]+$/.test(image))
    faults.push("the image may change under its name");
  // The least that AKS deployment safeguards accept; a missing CPU limit is set to the request there.
  if (millicores(requests.cpu) < 100 || bytes(requests.memory) < bytes("100Mi"))
    faults.push("the requests are below what AKS accepts");
  if (limits.cpu === undefined || limits.memory === undefined || limits.memory !== requests.memory)
    faults.push("the limits leave CPU or memory to chance");
  // NODE_OPTIONS in the image gives V8 75 % of the container.
  if (cacheBytes > (bytes(limits.memory) * 0.75) / 2)
    faults.push("the caches may fill more than half of the heap");
  for (const volume of spec.volumes ?? [])
    if (volume.emptyDir !== undefined && volume.emptyDir.sizeLimit === undefined)
      faults.push(`the volume ${volume.name} has no size limit`);
  return faults;
}

function exposureFaults({ all, namespace, deployment, service, networkPolicy }: Deployed): string[] {
  const { policyTypes = [], ingress = [], egress = [] } = networkPolicy.spec;
  const faults: string[] = [];
  if (namespace.metadata.labels?.["pod-security.kubernetes.io/enforce"] !== "restricted")
    faults.push("the namespace does not enforce the restricted profile");
  if (all.some(({ kind }) => kind === "Secret")) faults.push("a Secret stands in the tree");
  if (deployment.spec.template.spec.enableServiceLinks !== false)
    faults.push("other services' addresses are put into the environment");
  if (service.spec.ports.some(({ targetPort }) => targetPort === "admin" || targetPort === 8081))
    faults.push("the Service exposes the admin port");
  if (!policyTypes.includes("Ingress") || !policyTypes.includes("Egress"))
    faults.push("the network policy leaves a direction open");
  if (ingress.some(({ from = [], ports = [] }) => from.length === 0 || ports.length === 0))
    faults.push("the network policy admits everybody or every port");
  const toAdmin = ingress.filter(({ ports = [] }) =>
    ports.some(({ port }) => port === "admin" || port === 8081),
  );
  if (!toAdmin.every(({ from = [] }) => from.every(isMonitoring)))
    faults.push("the network policy admits others than the monitoring namespaces to the admin port");
  for (const { ipBlock } of egress.flatMap(({ to = [] }) => to))
    if (
      ipBlock?.cidr.endsWith("/0") === true &&
      !METADATA_ENDPOINTS.every((address) => ipBlock.except?.includes(address) === true)
    )
      faults.push("the metadata endpoint is within reach");
  if (egress.some(({ to = [], ports = [] }) => to.length === 0 || ports.length === 0))
    faults.push("the network policy lets out to everywhere or every port");
  return faults;
}

/** The pods of the namespaces that carry the label, and of no other. */
function isMonitoring({ namespaceSelector, ipBlock }: Peer): boolean {
  const labels = Object.entries(namespaceSelector?.matchLabels ?? {});
  return ipBlock === undefined && labels.some(([name, value]) => name === MONITORING && value === "true");
}

function gatewayOf(spec: PodSpec): Container {
  const container = spec.containers.find(({ name }) => name === "gateway");
  if (container === undefined) throw new Error("no container named gateway");
  return container;
}

function millicores(quantity = "0"): number {
  return quantity.endsWith("m") ? Number(quantity.slice(0, -1)) : Number(quantity) * 1000;
}

function bytes(quantity = "0"): number {
  const [, digits, unit = ""] = /^(\d+)(Ki|Mi|Gi)?$/.exec(quantity) ?? [];
  const factor = new Map([
    ["", 1],
    ["Ki", 2 ** 10],
    ["Mi", 2 ** 20],
    ["Gi", 2 ** 30],
  ]).get(unit);
  if (digits === undefined || factor === undefined)
    throw new Error(`memory quantity ${quantity} is not understood`);
  return Number(digits) * factor;
}
