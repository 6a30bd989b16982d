/** Renders a kustomization with whichever renderer the machine has. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { parseAllDocuments } from "yaml";
import type { Deployed, Manifest } from "./kinds.ts";

export interface Renderer {
  readonly name: string;
  /** False for Debian 12's kubectl 1.20: it takes neither directories in `resources` nor today's `patches`. */
  readonly rendersOverlays: boolean;
  render(directory: string): Manifest[];
}

export function findRenderer(): Renderer | undefined {
  if (run("kustomize", ["version"]) !== undefined)
    return renderer("kustomize", true, (directory) => ["build", directory]);
  const version = run("kubectl", ["version", "--client"]);
  if (version === undefined) return undefined;
  const [, minor = "0"] = /v1\.(\d+)\./.exec(version) ?? [];
  return renderer("kubectl", Number(minor) >= 21, (directory) => ["kustomize", directory]);
}

function renderer(
  name: string,
  rendersOverlays: boolean,
  argumentsFor: (directory: string) => string[],
): Renderer {
  return {
    name,
    rendersOverlays,
    render(directory) {
      const { status, stdout, stderr } = spawnSync(name, argumentsFor(directory), { encoding: "utf8" });
      if (status !== 0) throw new Error(`${name} cannot render ${directory}: ${stderr}`);
      return parseAllDocuments(stdout).map((document) => {
        if (document.errors.length > 0) throw new Error(`${name} rendered invalid YAML`);
        return document.toJS() as Manifest;
      });
    },
  };
}

function run(command: string, args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  return status === 0 ? stdout : undefined;
}

/** The base with these components, in a directory of its own outside of the tree, as an operator's would be. */
export function renderWithComponents(
  { render }: Renderer,
  aks: string,
  names: readonly string[],
): Manifest[] {
  // A path that leads through a symbolic link would not find its way back.
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "overlay-")));
  const path = (part: string) => relative(directory, realpathSync(resolve(aks, part)));
  try {
    const kustomization = {
      resources: [path("base")],
      components: names.map((name) => path(`components/${name}`)),
    };
    writeFileSync(join(directory, "kustomization.yaml"), JSON.stringify(kustomization));
    return render(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Sorts rendered objects by kind. Throws when one is missing or there are two of it. */
export function sortByKind(all: Manifest[]): Deployed {
  const the = <T>(kind: string): T => {
    const found = all.filter((manifest) => manifest.kind === kind);
    if (found.length !== 1) throw new Error(`expected one ${kind}, rendered ${found.length}`);
    return found[0] as T;
  };
  return {
    all,
    namespace: the("Namespace"),
    serviceAccount: the("ServiceAccount"),
    deployment: the("Deployment"),
    service: the("Service"),
    budget: the("PodDisruptionBudget"),
    networkPolicy: the("NetworkPolicy"),
    configMap: the("ConfigMap"),
  };
}
