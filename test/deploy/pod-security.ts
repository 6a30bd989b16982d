/** Kubernetes' restricted Pod Security Standard over one pod, and the two settings that we ask for beyond it. */

import type { Container, Pod } from "./kinds.ts";

/** Volume types that the restricted profile permits. */
const VOLUMES = new Set([
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "image",
  "persistentVolumeClaim",
  "projected",
  "secret",
]);

const CONFINED = new Set(["RuntimeDefault", "Localhost"]);

/** What the admission controller would refuse, one sentence each; none = the pod is admitted. */
export function podSecurityFaults({ metadata, spec }: Pod): string[] {
  const faults: string[] = [];
  for (const key of ["hostNetwork", "hostPID", "hostIPC"] as const)
    if (spec[key] === true) faults.push(`pod: ${key} shares the node's namespace`);
  for (const volume of spec.volumes ?? []) {
    const source = Object.keys(volume).find((key) => key !== "name");
    if (source === undefined || !VOLUMES.has(source)) faults.push(`pod: volume type ${source} is forbidden`);
  }
  if ((spec.securityContext?.sysctls ?? []).length > 0) faults.push("pod: sets kernel parameters");
  for (const [key, value] of Object.entries(metadata.annotations ?? {}))
    if (key.startsWith("container.apparmor.security.beta.kubernetes.io/") && value === "unconfined")
      faults.push("pod: AppArmor is switched off");
  for (const container of [...(spec.initContainers ?? []), ...spec.containers])
    faults.push(...containerFaults(container, spec).map((fault) => `${container.name}: ${fault}`));
  return faults;
}

function containerFaults(container: Container, { securityContext: ofPod = {} }: Pod["spec"]): string[] {
  const own = container.securityContext ?? {};
  const faults: string[] = [];
  if (own.privileged === true) faults.push("is privileged");
  if (own.allowPrivilegeEscalation !== false) faults.push("may gain privileges");
  if (own.procMount !== undefined && own.procMount !== "Default") faults.push("unmasks /proc");
  if (own.capabilities?.drop?.includes("ALL") !== true) faults.push("keeps capabilities");
  if (own.capabilities?.add?.some((name) => name !== "NET_BIND_SERVICE")) faults.push("adds capabilities");
  if (container.ports?.some(({ hostPort }) => hostPort !== undefined))
    faults.push("takes a port of the node");

  if ((own.runAsNonRoot ?? ofPod.runAsNonRoot) !== true) faults.push("does not refuse to run as root");
  const user = own.runAsUser ?? ofPod.runAsUser;
  if (user === 0) faults.push("runs as root");
  if (!CONFINED.has((own.seccompProfile ?? ofPod.seccompProfile)?.type ?? ""))
    faults.push("has no seccomp filter");
  if ((own.appArmorProfile ?? ofPod.appArmorProfile)?.type === "Unconfined")
    faults.push("has AppArmor switched off");

  // Not in the standard, but ours: a fixed identity, and nothing to write to but what is mounted for it.
  if (user === undefined) faults.push("leaves its user to the image");
  if (own.readOnlyRootFilesystem !== true) faults.push("can write to its root file system");
  return faults;
}
