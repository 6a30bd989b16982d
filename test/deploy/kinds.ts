/** The parts of Kubernetes' objects that the rules look at. */

type Labels = Record<string, string>;

interface Metadata {
  name: string;
  namespace?: string;
  labels?: Labels;
  annotations?: Labels;
}

interface Profile {
  type?: string;
}

interface SecurityContext {
  runAsNonRoot?: boolean;
  runAsUser?: number;
  runAsGroup?: number;
  seccompProfile?: Profile;
  appArmorProfile?: Profile;
}

export interface PodSecurityContext extends SecurityContext {
  fsGroup?: number;
  sysctls?: { name: string; value: string }[];
}

export interface ContainerSecurityContext extends SecurityContext {
  privileged?: boolean;
  allowPrivilegeEscalation?: boolean;
  readOnlyRootFilesystem?: boolean;
  procMount?: string;
  capabilities?: { drop?: string[]; add?: string[] };
}

export interface Probe {
  httpGet?: { path?: string; port?: string | number };
  periodSeconds?: number;
  failureThreshold?: number;
}

export interface Container {
  name: string;
  image?: string;
  env?: { name: string; value?: string; valueFrom?: { secretKeyRef?: { name: string; key: string } } }[];
  ports?: { name?: string; containerPort: number; hostPort?: number }[];
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  lifecycle?: { preStop?: { sleep?: { seconds: number }; exec?: { command: string[] } } };
  resources?: { requests?: Labels; limits?: Labels };
  securityContext?: ContainerSecurityContext;
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
}

export interface PodSpec {
  serviceAccountName?: string;
  automountServiceAccountToken?: boolean;
  enableServiceLinks?: boolean;
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  terminationGracePeriodSeconds?: number;
  securityContext?: PodSecurityContext;
  topologySpreadConstraints?: { topologyKey: string; matchLabelKeys?: string[] }[];
  initContainers?: Container[];
  containers: Container[];
  volumes?: ({ name: string; configMap?: { name: string }; emptyDir?: { sizeLimit?: string } } & {
    [source: string]: unknown;
  })[];
}

export interface Pod {
  metadata: Partial<Metadata>;
  spec: PodSpec;
}

export interface Deployment {
  metadata: Metadata;
  spec: {
    replicas?: number;
    strategy?: { rollingUpdate?: { maxUnavailable?: number | string } };
    selector: { matchLabels: Labels };
    template: Pod;
  };
}

export interface ServiceAccount {
  metadata: Metadata;
  automountServiceAccountToken?: boolean;
}

export interface Service {
  metadata: Metadata;
  spec: { type?: string; selector: Labels; ports: { port: number; targetPort: string | number }[] };
}

export interface PodDisruptionBudget {
  metadata: Metadata;
  spec: {
    maxUnavailable?: number;
    unhealthyPodEvictionPolicy?: string;
    selector: { matchLabels: Labels };
  };
}

export interface Peer {
  podSelector?: { matchLabels?: Labels };
  namespaceSelector?: { matchLabels?: Labels };
  ipBlock?: { cidr: string; except?: string[] };
}

export interface NetworkPolicy {
  metadata: Metadata;
  spec: {
    podSelector: { matchLabels?: Labels };
    policyTypes?: string[];
    ingress?: { from?: Peer[]; ports?: { port: string | number }[] }[];
    egress?: { to?: Peer[]; ports?: { port: string | number }[] }[];
  };
}

export interface ConfigMap {
  metadata: Metadata;
  data: Labels;
}

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
}

/** One of each kind that the gateway consists of in a cluster. */
export interface Deployed {
  all: Manifest[];
  namespace: Manifest;
  serviceAccount: ServiceAccount;
  deployment: Deployment;
  service: Service;
  budget: PodDisruptionBudget;
  networkPolicy: NetworkPolicy;
  configMap: ConfigMap;
}
