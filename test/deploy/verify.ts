/** The deployment's one checker: every overlay rendered and judged, Dockerfile and scripts linted. */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { validate as lintDockerfile } from "dockerfile-utils";
import { bicepFaults } from "./bicep-rules.ts";
import { dockerfileFaults } from "./dockerfile.ts";
import type { Manifest } from "./kinds.ts";
import { findRenderer, type Renderer, renderWithComponents, sortByKind } from "./kustomize.ts";
import { type Located, schemaFaults } from "./object-schema.ts";
import { overlayFaults, subjectOfSetup } from "./overlay-rules.ts";
import { workflowFaults } from "./workflow-rules.ts";

export interface Report {
  /** What was looked at, one line each. */
  readonly checked: readonly string[];
  /** What was not, and why. */
  readonly skipped: readonly string[];
  /** What is wrong, one sentence each that begins with where. */
  readonly faults: readonly string[];
}

/** Judges everything below `root`, a copy of the repository's files or the repository itself. */
export async function verifyDeployment(root: string): Promise<Report> {
  const parts = [
    await verifyManifests(root, findRenderer()),
    verifyDockerfile(root),
    verifyScripts(root),
    verifySetup(root),
    verifyWorkflows(root),
  ];
  return {
    checked: parts.flatMap(({ checked }) => checked),
    skipped: parts.flatMap(({ skipped }) => skipped),
    faults: parts.flatMap(({ faults }) => faults),
  };
}

/** Every overlay, and the base with every component, since some of these are left to operators. */
export async function verifyManifests(root: string, renderer: Renderer | undefined): Promise<Report> {
  const skipped = (reason: string): Report => ({
    checked: [],
    skipped: [`manifests: ${reason}`],
    faults: [],
  });
  if (renderer === undefined) return skipped("neither kustomize nor kubectl is on PATH");
  if (!renderer.rendersOverlays)
    return skipped("this kubectl is too old for overlays, 1.21 or later is needed");
  const aks = join(root, "docker/aks");
  // The container beside an application is for an application's own objects, not for the base.
  const components = readdirSync(join(aks, "components"))
    .filter((name) => name !== "sidecar")
    .toSorted();
  const subject = subjectOfSetup(readFileSync(join(root, "docker/setup/azure.sh"), "utf8"));
  const sources: [name: string, render: (by: Renderer) => Manifest[]][] = readdirSync(join(aks, "overlays"))
    .toSorted()
    .map((name) => [`overlay ${name}`, ({ render }) => render(join(aks, "overlays", name))]);
  // Two ways to one Redis, of which an overlay takes one.
  const [byEntra] = components.filter((name) => name === "redis-entra");
  const together = components.filter((name) => name !== byEntra);
  sources.push(["every component", (by) => renderWithComponents(by, aks, together)]);
  if (byEntra !== undefined)
    sources.push([`component ${byEntra}`, (by) => renderWithComponents(by, aks, [byEntra])]);

  const checked: string[] = [];
  const faults: string[] = [];
  const objects: Located[] = [];
  for (const [name, render] of sources) {
    try {
      const all = render(renderer);
      objects.push(...all.map((object) => ({ from: name, object })));
      faults.push(...overlayFaults(sortByKind(all), subject).map((fault) => `${name}: ${fault}`));
      checked.push(`${name}: ${all.length} objects`);
    } catch (error) {
      faults.push(`${name}: ${error instanceof Error ? error.message.trim() : error}`);
    }
  }
  return { checked, skipped: [], faults: [...faults, ...(await schemaFaults(objects))] };
}

export function verifyDockerfile(root: string): Report {
  const file = "docker/Dockerfile";
  const text = readFileSync(join(root, file), "utf8");
  const lint = lintDockerfile(text).map(
    ({ range, message }) => `${file}:${range.start.line + 1}: ${message}`,
  );
  // Text that is no Dockerfile cannot be asked for promises.
  const promises =
    lint.length > 0 ? [] : dockerfileFaults(text, readFileSync(join(root, ".dockerignore"), "utf8"));
  return {
    checked: [file],
    skipped: [],
    faults: [...lint, ...promises.map((fault) => `${file}: ${fault}`)],
  };
}

export function verifyScripts(root: string, shellcheck = "shellcheck"): Report {
  const scripts = readdirSync(join(root, "docker"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".sh"))
    .map((name) => `docker/${name}`)
    .concat(".ci/run")
    .toSorted();
  const { error, status, stdout } = spawnSync(shellcheck, ["--format=gcc", ...scripts], {
    cwd: root,
    encoding: "utf8",
  });
  if (error !== undefined)
    return { checked: [], skipped: ["scripts: shellcheck is not on PATH"], faults: [] };
  const faults = stdout.split("\n").filter((line) => line !== "");
  if (status !== 0 && faults.length === 0) faults.push(`scripts: shellcheck failed with ${status}`);
  return { checked: scripts, skipped: [], faults };
}

/** The Bicep files, which nothing here can compile, against the script that is tested. */
export function verifySetup(root: string): Report {
  const read = (file: string) => readFileSync(join(root, "docker/setup", file), "utf8");
  const faults = bicepFaults({
    script: read("azure.sh"),
    registration: read("registration.mjs"),
    main: read("main.bicep"),
    exposed: read("exposed-api.bicep"),
  });
  const file = "docker/setup/main.bicep";
  return {
    checked: [`${file}: text only`],
    skipped: [],
    faults: faults.map((fault) => `${file}: ${fault}`),
  };
}

export function verifyWorkflows(root: string): Report {
  const files = readdirSync(join(root, ".github/workflows"))
    .toSorted()
    .map((name) => `.github/workflows/${name}`);
  const faults = files.flatMap((file) =>
    workflowFaults(readFileSync(join(root, file), "utf8")).map((fault) => `${file}: ${fault}`),
  );
  return { checked: files, skipped: [], faults };
}
