/** What must hold of a GitHub workflow: least rights, an end in time, nothing of a stranger's in a shell. */

import { parseDocument } from "yaml";

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

interface Job {
  readonly uses?: string;
  readonly "runs-on"?: string;
  readonly "timeout-minutes"?: number;
  readonly permissions?: Permissions;
  readonly steps?: readonly Step[];
}

type Permissions = Readonly<Record<string, string>> | string;

interface Workflow {
  readonly on?: unknown;
  readonly permissions?: Permissions;
  readonly jobs?: Readonly<Record<string, Job>>;
}

/** Run with the repository's rights and secrets, on behalf of whoever opened a pull request. */
const DANGEROUS_EVENTS = ["pull_request_target", "workflow_run", "issue_comment"];
/** What a job may write: tokens to be exchanged elsewhere, and attestations of what it built. */
const WRITABLE = new Set(["id-token", "attestations"]);

/** One sentence for each promise that is not kept; YAML that cannot be read alone is one, too. */
export function workflowFaults(text: string): string[] {
  const document = parseDocument(text, { uniqueKeys: true });
  if (document.errors.length > 0)
    return document.errors.map(({ message }) => message.split("\n")[0] ?? message);
  const { on, permissions, jobs = {} } = document.toJS() as Workflow;
  const faults: string[] = [];
  const events = typeof on === "object" && on !== null ? Object.keys(on) : [String(on)];
  for (const event of events) if (DANGEROUS_EVENTS.includes(event)) faults.push(`is started by ${event}`);
  if (JSON.stringify(permissions) !== '{"contents":"read"}')
    faults.push("does not begin with the permission to read contents alone");
  if (/\bsecrets\./.test(text)) faults.push("uses a stored secret");
  if (Object.keys(jobs).length === 0) faults.push("has no job");
  for (const [name, job] of Object.entries(jobs))
    faults.push(...jobFaults(job).map((fault) => `${name}: ${fault}`));
  return faults;
}

function jobFaults({ permissions = {}, steps = [], ...job }: Job): string[] {
  const faults: string[] = [];
  if (typeof permissions === "string") faults.push(`has the permissions ${permissions}`);
  else
    for (const [scope, access] of Object.entries(permissions))
      if (access === "write" && !WRITABLE.has(scope)) faults.push(`may write ${scope}`);
  // A reusable workflow of this repository brings both.
  if (job.uses?.startsWith("./") !== true) {
    if (!(Number(job["timeout-minutes"]) <= 60)) faults.push("has no end in time");
    if (!/^ubuntu-\d\d\.\d\d$/.test(job["runs-on"] ?? ""))
      faults.push("runs on a machine that changes by itself");
  }
  for (const step of steps) faults.push(...stepFaults(step));
  return faults;
}

function stepFaults({ uses, run, with: inputs = {} }: Step): string[] {
  const faults: string[] = [];
  if (uses !== undefined && !/^[\w.-]+\/[\w./-]+@(?:v\d+(?:\.\d+){0,2}|[0-9a-f]{40})$/.test(uses))
    faults.push(`${uses} is not pinned`);
  if (uses?.startsWith("actions/checkout@") === true && inputs["persist-credentials"] !== false)
    faults.push("leaves the token in the checkout");
  // Expressions are pasted into the script before a shell reads it; by the environment they stay data.
  const pasted = /\$\{\{\s*(.*?)\s*\}\}/.exec(run ?? "")?.[1];
  if (pasted !== undefined) faults.push(`pastes ${pasted} into a script`);
  return faults;
}
