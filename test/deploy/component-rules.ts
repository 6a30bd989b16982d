/** What must hold of the optional objects, where an overlay has them. */

import type { Deployed, Manifest } from "./kinds.ts";

type Shape = Record<string, unknown>;

interface HorizontalPodAutoscaler extends Manifest {
  spec: {
    scaleTargetRef: { apiVersion: string; kind: string; name: string };
    minReplicas: number;
    maxReplicas: number;
    behavior?: { scaleDown?: { stabilizationWindowSeconds?: number } };
  };
}
interface HttpRoute extends Manifest {
  spec: {
    parentRefs: { name: string; sectionName?: string }[];
    hostnames: string[];
    rules: { backendRefs: { name: string; port: number }[] }[];
  };
}
interface PodMonitor extends Manifest {
  spec: {
    selector: { matchLabels: Record<string, string> };
    podMetricsEndpoints: { port: string; path?: string }[];
  };
}
interface SecretProviderClass extends Manifest {
  spec: { secretObjects?: unknown; parameters: { objects: string } };
}

/** One sentence for each promise that is not kept. */
export function componentFaults(deployed: Deployed): string[] {
  const each = <T extends Manifest>(kind: string, judge: (one: T) => string[]) =>
    (deployed.all as T[]).filter((one) => one.kind === kind).flatMap(judge);
  return [
    ...each<HorizontalPodAutoscaler>("HorizontalPodAutoscaler", (one) => autoscalerFaults(one, deployed)),
    ...each<HttpRoute>("HTTPRoute", (one) => routeFaults(one, deployed)),
    ...each<PodMonitor>("PodMonitor", (one) => monitorFaults(one, deployed)),
    ...each<SecretProviderClass>("SecretProviderClass", (one) => vaultFaults(one, deployed)),
    ...redisFaults(deployed),
    ...deployed.all
      .filter(
        ({ kind, metadata }) =>
          kind !== "Namespace" && metadata.namespace !== deployed.deployment.metadata.namespace,
      )
      .map(({ kind }) => `the ${kind} is in another namespace`),
  ];
}

function autoscalerFaults({ spec }: HorizontalPodAutoscaler, { deployment }: Deployed): string[] {
  const { scaleTargetRef: target, minReplicas, maxReplicas, behavior } = spec;
  const faults: string[] = [];
  if (target.kind !== "Deployment" || target.name !== deployment.metadata.name)
    faults.push("the autoscaler scales something else");
  if (minReplicas < 2 || maxReplicas <= minReplicas)
    faults.push("the autoscaler's range leaves no room or no second pod");
  if (deployment.spec.replicas !== undefined) faults.push("each apply sets back what the autoscaler chose");
  if ((behavior?.scaleDown?.stabilizationWindowSeconds ?? 300) < 300)
    faults.push("the autoscaler takes caches away in haste");
  return faults;
}

function routeFaults({ spec }: HttpRoute, { service }: Deployed): string[] {
  const faults: string[] = [];
  if (spec.parentRefs.some(({ sectionName }) => sectionName === undefined))
    faults.push("the route attaches to every listener of the Gateway, plain HTTP included");
  if (spec.hostnames.length === 0 || spec.hostnames.some((host) => host.includes("*")))
    faults.push("the route takes other hosts' requests");
  for (const { name, port } of spec.rules.flatMap(({ backendRefs }) => backendRefs))
    if (name !== service.metadata.name || !service.spec.ports.some((one) => one.port === port))
      faults.push("the route leads to a Service or port that is not there");
  return faults;
}

function monitorFaults({ spec }: PodMonitor, { deployment }: Deployed): string[] {
  const { labels = {} } = deployment.spec.template.metadata;
  const ports = deployment.spec.template.spec.containers.flatMap((container) => container.ports ?? []);
  const faults: string[] = [];
  if (!Object.entries(spec.selector.matchLabels).every(([key, value]) => labels[key] === value))
    faults.push("the monitor selects other pods");
  for (const { port, path } of spec.podMetricsEndpoints)
    if (port !== "admin" || path !== "/metrics" || !ports.some(({ name }) => name === port))
      faults.push("the monitor does not ask /metrics on the admin port");
  return faults;
}

function vaultFaults({ metadata, spec }: SecretProviderClass, { deployment }: Deployed): string[] {
  const { volumes = [], containers } = deployment.spec.template.spec;
  const [container] = containers;
  const volume = volumes.find(
    ({ csi }) =>
      (csi as { volumeAttributes?: Shape } | undefined)?.volumeAttributes?.secretProviderClass ===
      metadata.name,
  );
  const mount = container?.volumeMounts?.find(({ name }) => name === volume?.name);
  const alias = /objectAlias: (\S+)/.exec(spec.parameters.objects)?.[1];
  const setting = VAULT_FILES[metadata.name] ?? "";
  const file = container?.env?.find(({ name }) => name === setting)?.value;
  const faults: string[] = [];
  if (mount?.readOnly !== true || file !== `${mount.mountPath}/${alias}`)
    faults.push(`${setting} does not lead to the vault's file`);
  if (spec.secretObjects !== undefined) faults.push("the vault's key is copied into a Secret");
  return faults;
}

/** The setting that names the file of each class. */
const VAULT_FILES: Readonly<Record<string, string>> = {
  "obo-gateway": "AZURE_CLIENT_CERTIFICATE_PATH",
  "obo-gateway-redis": "TOKEN_CACHE_KEYS_FILE",
};

/** A URL with a password is a secret, and a cache whose keys differ between replicas is none. */
function redisFaults({ deployment, networkPolicy }: Deployed): string[] {
  const [container] = deployment.spec.template.spec.containers;
  const find = (name: string) => container?.env?.find((one) => one.name === name);
  const url = find("REDIS_URL");
  const keys = find("TOKEN_CACHE_KEYS");
  const keysFile = find("TOKEN_CACHE_KEYS_FILE");
  if (url === undefined && keys === undefined && keysFile === undefined) return [];
  const faults: string[] = [];
  if (url === undefined || (keys === undefined) === (keysFile === undefined))
    faults.push("Redis takes both REDIS_URL and TOKEN_CACHE_KEYS");
  const byEntra = find("REDIS_AUTH")?.value === "entra";
  for (const one of byEntra ? [keys] : [url, keys])
    if (one !== undefined && one.valueFrom?.secretKeyRef === undefined)
      faults.push(`${one.name} stands in the tree`);
  if (byEntra && !/^rediss[a-z+]*:\/\/[^@]+$/.test(url?.value ?? ""))
    faults.push("REDIS_URL holds a password, or no TLS, although Redis is signed in to with tokens");
  const ports = (networkPolicy.spec.egress ?? []).flatMap((rule) => rule.ports ?? []);
  if (!ports.some(({ port }) => port !== 53 && port !== 443))
    faults.push("the network policy does not let out to Redis");
  return faults;
}
