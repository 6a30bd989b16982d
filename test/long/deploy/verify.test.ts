/** The checker itself: the repository passes, and what is broken on purpose in a copy is named. */

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { findRenderer } from "../../deploy/kustomize.ts";
import { schemaFaults } from "../../deploy/object-schema.ts";
import {
  verifyDeployment,
  verifyDockerfile,
  verifyManifests,
  verifyScripts,
  verifySetup,
  verifyWorkflows,
} from "../../deploy/verify.ts";

const renderer = findRenderer();
const renders = renderer?.rendersOverlays === true ? describe : describe.skip;
const lints = spawnSync("shellcheck", ["--version"]).status === 0 ? describe : describe.skip;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "deploy-"));
  for (const part of ["docker", ".ci", ".github", ".dockerignore"])
    cpSync(part, join(root, part), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

/** @throws when `original` is not there, since nothing would be broken. */
function break_(file: string, original: string | RegExp, replacement: string): void {
  const text = readFileSync(join(root, file), "utf8");
  const broken = text.replace(original, () => replacement);
  if (broken === text) throw new Error(`${file} does not hold ${original}`);
  writeFileSync(join(root, file), broken);
}

test("the repository has no fault, and where CI runs nothing is left unchecked", async () => {
  const { checked, skipped, faults } = await verifyDeployment(".");
  expect(faults).toEqual([]);
  for (const line of skipped) process.stderr.write(`not checked: ${line}\n`);
  if (process.env.CI === "true") expect(skipped).toEqual([]);
  if (skipped.length === 0)
    expect(checked).toEqual(
      expect.arrayContaining([
        "overlay prod: 10 objects",
        "every component: 11 objects",
        "component redis-entra: 8 objects",
        "docker/Dockerfile",
      ]),
    );
});

renders("manifests", () => {
  const DEPLOYMENT = "docker/aks/base/deployment.yaml";
  const PROD = "docker/aks/overlays/prod/kustomization.yaml";
  const MONITOR = "docker/aks/components/pod-monitor/pod-monitor.yaml";
  const ROUTE = "docker/aks/components/http-route/http-route.yaml";
  const VAULT = "docker/aks/components/key-vault-certificate/secret-provider-class.yaml";
  const SUBJECT = "the federated credential's subject names another service account";

  test.each<[string, string, string | RegExp, string, string[]]>([
    [
      "a missing readOnlyRootFilesystem",
      DEPLOYMENT,
      /^ *readOnlyRootFilesystem: true\n/m,
      "",
      ["overlay prod: gateway: can write to its root file system"],
    ],
    [
      "a misspelt readOnlyRootFilesystem",
      DEPLOYMENT,
      "readOnlyRootFilesystem",
      "readOnlyRootFileSystem",
      [
        "overlay prod: gateway: can write to its root file system",
        "overlay prod: Deployment obo-gateway: spec.template.spec.containers.securityContext.readOnlyRootFileSystem: unknown field readOnlyRootFileSystem",
      ],
    ],
    [
      "a field of the pod that stands in its container",
      DEPLOYMENT,
      "          imagePullPolicy:",
      "          enableServiceLinks: false\n          imagePullPolicy:",
      [
        "overlay dev: Deployment obo-gateway: spec.template.spec.containers.enableServiceLinks: unknown field enableServiceLinks",
      ],
    ],
    [
      "a number where a text belongs",
      "docker/aks/base/pod-disruption-budget.yaml",
      "unhealthyPodEvictionPolicy: AlwaysAllow",
      "unhealthyPodEvictionPolicy: 1",
      [
        "overlay dev: the disruption budget does not let nodes drain one pod at a time",
        "overlay dev: PodDisruptionBudget obo-gateway: data/spec/unhealthyPodEvictionPolicy must be string, data/spec/unhealthyPodEvictionPolicy must be equal to one of the allowed values",
      ],
    ],
    [
      "a missing required field",
      ROUTE,
      "          port: 80\n",
      "          weight: 1\n",
      ["overlay prod: the route leads to a Service or port that is not there"],
    ],
    [
      "a misspelt field of a custom resource",
      MONITOR,
      "      interval: 30s",
      "      intervall: 30s",
      ["overlay prod: PodMonitor obo-gateway: spec.podMetricsEndpoints.intervall: unknown field intervall"],
    ],
    [
      "an unknown field of a kind that no package knows",
      VAULT,
      "    keyvaultName:",
      "    keyVaultName:",
      [
        "every component: SecretProviderClass obo-gateway: spec.parameters.keyvaultName: Invalid input: expected string, received undefined",
        'every component: SecretProviderClass obo-gateway: spec.parameters: Unrecognized key: "keyVaultName"',
      ],
    ],
    [
      "a kind without a schema",
      MONITOR,
      "monitoring.coreos.com/v1",
      "monitoring.coreos.example/v1",
      ["overlay prod: PodMonitor obo-gateway: no schema for monitoring.coreos.example/v1/PodMonitor"],
    ],
    [
      "a probe on the public port",
      DEPLOYMENT,
      "path: /readyz\n              port: admin",
      "path: /readyz\n              port: http",
      ["overlay example: the readinessProbe does not ask /readyz on the admin port"],
    ],
    [
      "the tag latest",
      PROD,
      "newTag: 0.1.0",
      "newTag: latest",
      ["overlay prod: the image may change under its name"],
    ],
    [
      "a namespace of an overlay's own",
      PROD,
      "resources:\n",
      "namespace: prod\nresources:\n",
      [`overlay prod: ${SUBJECT}`],
    ],
    [
      "a name prefix in an overlay",
      PROD,
      "resources:\n",
      "namePrefix: eu-\nresources:\n",
      [`overlay prod: ${SUBJECT}`],
    ],
    [
      "a set-up script that federates another service account",
      "docker/setup/azure.sh",
      /^service_account=.*$/m,
      "service_account=gateway",
      [`overlay dev: ${SUBJECT}`],
    ],
    [
      "a reference to a file that is not there",
      "docker/aks/base/kustomization.yaml",
      "  - service.yaml",
      "  - services.yaml",
      [expect.stringMatching(/^overlay dev: .*services\.yaml/s) as unknown as string],
    ],
  ])("%s is named", async (_, file, original, replacement, named) => {
    break_(file, original, replacement);
    const { faults } = await verifyManifests(root, renderer);
    expect(faults).toEqual(expect.arrayContaining(named));
  });
});

test.each([
  ["is missing", undefined, "neither kustomize nor kubectl is on PATH"],
  [
    "is too old",
    { name: "kubectl", rendersOverlays: false, render: () => [] },
    "this kubectl is too old for overlays, 1.21 or later is needed",
  ],
])("a renderer that %s is said, and nothing is claimed", async (_, none, reason) => {
  expect(await verifyManifests(root, none)).toEqual({
    checked: [],
    skipped: [`manifests: ${reason}`],
    faults: [],
  });
});

describe("schemas", () => {
  const object = { apiVersion: "v1", kind: "Namespace", metadata: { name: "n" } };

  test("refuse a field that the JSON schema lets pass", async () => {
    expect(await schemaFaults([{ from: "here", object }])).toEqual([]);
    const typo = { ...object, metadata: { name: "n", lables: { a: "b" } } };
    expect(await schemaFaults([{ from: "here", object: typo }])).toEqual([
      "here: Namespace n: metadata.lables: unknown field lables",
    ]);
  });
});

describe("the Dockerfile", () => {
  test.each([
    [
      "an unknown instruction",
      "WORKDIR /app",
      "WORKDIRR /app",
      /^docker\/Dockerfile:\d+: Unknown instruction: WORKDIRR$/,
    ],
    ["a relative directory", "WORKDIR /app", "WORKDIR app", /^docker\/Dockerfile:\d+: .*WORKDIR/],
    [
      "a second command",
      'CMD ["node", "dist/main.js"]',
      'CMD ["a"]\nCMD ["node", "dist/main.js"]',
      /can only be one CMD/,
    ],
    ["a user that is root", /USER 10001:10001\n(?=EXPOSE 8080)/, "", /^docker\/Dockerfile: the user is root/],
  ])("%s is named", (_, original, replacement, named) => {
    break_("docker/Dockerfile", original, replacement);
    expect(verifyDockerfile(root).faults).toEqual(expect.arrayContaining([expect.stringMatching(named)]));
  });
});

lints("scripts", () => {
  test.each([".ci/run", "docker/setup/azure.sh", "docker/test-image.sh"])(
    "a fault in %s is named",
    (file) => {
      break_(file, "set -euo pipefail\n", "set -euo pipefail\ncd $1\n");
      expect(verifyScripts(root).faults).toEqual(
        expect.arrayContaining([expect.stringMatching(`^${file}:\\d+:\\d+: .*\\[SC2086\\]$`)]),
      );
    },
  );
});

test("a shellcheck that is missing is said, and nothing else is claimed", () => {
  expect(verifyScripts(root, "shellcheck-that-is-not-there")).toEqual({
    checked: [],
    skipped: ["scripts: shellcheck is not on PATH"],
    faults: [],
  });
});

describe("what the Bicep files and the script do not have in common is named", () => {
  const MAIN = "docker/setup/main.bicep";

  test.each<[string, string, string | RegExp, string]>([
    [
      "the default of namespace is gateway instead of obo-gateway",
      MAIN,
      "namespace string = 'obo-gateway'",
      "namespace string = 'gateway'",
    ],
    ["the default of scope is call instead of access_as_user", MAIN, "'access_as_user'", "'call'"],
    [
      "the default permission is User.Read Mail.Read instead of User.Read User.Read.All Mail.ReadBasic Files.Read",
      MAIN,
      /'User\.Read', .*'Files\.Read'/,
      "'User.Read', 'Mail.Read'",
    ],
    [
      "the federated subject is system:serviceaccount:$service_account:$namespace instead of system:serviceaccount:$namespace:$service_account",
      MAIN,
      "${namespace}:${serviceAccount}'",
      "${serviceAccount}:${namespace}'",
    ],
    [
      "the federated audience is api://AzureADTokenExchangeChina instead of api://AzureADTokenExchange",
      MAIN,
      "'api://AzureADTokenExchange'",
      "'api://AzureADTokenExchangeChina'",
    ],
    ["the optional claim is ipaddr instead of xms_cc", MAIN, "name: 'xms_cc'", "name: 'ipaddr'"],
    [
      "requestedAccessTokenVersion is 1 instead of 2",
      MAIN,
      "requestedAccessTokenVersion: 2",
      "requestedAccessTokenVersion: 1",
    ],
    [
      "adminConsentDisplayName is Call it instead of Call the gateway",
      MAIN,
      "'Call the gateway'",
      "'Call it'",
    ],
    [
      "preAuthorizedApplications is left out",
      MAIN,
      "preAuthorizedApplications: ",
      "authorizedApplications: ",
    ],
    ["the App ID URI is left out", "docker/setup/exposed-api.bicep", /^ *identifierUris.*\n/m, ""],
    [
      "main.bicep does not close what it opens",
      MAIN,
      "  appId: application.appId\n}",
      "  appId: application.appId\n",
    ],
    [
      "the default of name is obo-gateway instead of gateway",
      "docker/setup/azure.sh",
      /^name=.*$/m,
      "name=gateway",
    ],
  ])("%s", (fault, file, original, replacement) => {
    break_(file, original, replacement);
    expect(verifySetup(root).faults).toEqual([`${MAIN}: ${fault}`]);
  });
});

describe("a workflow is found out that", () => {
  const AUDIT = ".github/workflows/audit.yaml";

  test.each<[string, string | RegExp, string]>([
    ["is started by pull_request_target", "  schedule:", "  pull_request_target:\n  schedule:"],
    ["does not begin with the permission to read contents alone", /permissions:\n {2}contents: read\n/, ""],
    ["does not begin with the permission to read contents alone", "contents: read", "contents: write"],
    ["uses a stored secret", "run: npm run licences", "run: npm run licences # ${{ secrets.NPM_TOKEN }}"],
    ["audit: has no end in time", /^ *timeout-minutes.*\n/m, ""],
    ["audit: has no end in time", "timeout-minutes: 15", "timeout-minutes: 360"],
    ["audit: runs on a machine that changes by itself", "ubuntu-24.04", "ubuntu-latest"],
    ["audit: may write packages", "    timeout-", "    permissions: { packages: write }\n    timeout-"],
    ["audit: has the permissions write-all", "    timeout-", "    permissions: write-all\n    timeout-"],
    ["audit: actions/setup-node@main is not pinned", "setup-node@v4", "setup-node@main"],
    ["audit: leaves the token in the checkout", "persist-credentials: false", "fetch-depth: 1"],
    [
      "audit: pastes github.event.pull_request.title into a script",
      "npm audit signatures",
      "echo ${{ github.event.pull_request.title }}",
    ],
    ["Map keys must be unique at line 6, column 3:", "  workflow_dispatch:", "  schedule: []"],
  ])("%s", (fault, original, replacement) => {
    break_(AUDIT, original, replacement);
    const faults = verifyWorkflows(root).faults.filter((line) => !line.includes("pastes secrets"));
    expect(faults).toEqual([expect.stringContaining(`${AUDIT}: ${fault.replace(/ at line.*/, "")}`)]);
  });
});
