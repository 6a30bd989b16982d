/** All rules over one rendered directory, with what they need to know from elsewhere. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type GatewayConfig, loadConfig } from "../../src/config/load.ts";
import { componentFaults } from "./component-rules.ts";
import { deploymentFaults } from "./deployment-rules.ts";
import type { Deployed } from "./kinds.ts";
import { podSecurityFaults } from "./pod-security.ts";

/** One sentence for each promise that is not kept. */
export function overlayFaults(deployed: Deployed, subject: string): string[] {
  const config = gatewayConfig(deployed);
  return [
    ...podSecurityFaults(deployed.deployment.spec.template),
    ...deploymentFaults(deployed, {
      subject,
      drainSeconds: config.http.shutdownGraceSeconds,
      cacheBytes: config.identity.cache.maxBytes + config.exchange.cache.maxBytes,
    }),
    ...componentFaults(deployed),
  ];
}

/** The ConfigMap's gateway.yaml as the gateway reads it, with what the webhook puts into the environment. */
export function gatewayConfig({ configMap }: Deployed): GatewayConfig {
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

/** Subject of the federated credential that docker/setup/azure.sh makes unless told otherwise. */
export function subjectOfSetup(script = readFileSync("docker/setup/azure.sh", "utf8")): string {
  const [, namespace] = /^namespace=(\S+)$/m.exec(script) ?? [];
  const [, account] = /^service_account=(\S+)$/m.exec(script) ?? [];
  if (namespace === undefined || account === undefined || !script.includes("system:serviceaccount:"))
    throw new Error("docker/setup/azure.sh does not show its default namespace and service account");
  return `system:serviceaccount:${namespace}:${account}`;
}
