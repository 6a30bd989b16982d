/** The doctor's round: configuration first, then every check in the order in which a request would need it. */

import { loadCheckedConfig } from "../checked-config.ts";
import { type CodeParts, withModule } from "../code-routes.ts";
import type { GatewayConfig } from "../config/load.ts";
import { ConfigurationError } from "../errors.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { FileDescriptors } from "../foundation/file-descriptors.ts";
import type { Secret } from "../foundation/secret.ts";
import { resolveAuthority } from "../identity/authority.ts";
import { openOutbound } from "../outbound/outbound.ts";
import { authorityChecks } from "./authority.ts";
import type { FederatedIdentity } from "./commands.ts";
import { credentialChecks } from "./credential.ts";
import { checkDownstream } from "./downstream.ts";
import type { Examination } from "./examination.ts";
import { checkExchange } from "./exchange.ts";
import { mcpChecks } from "./mcp.ts";
import { checkPorts } from "./ports.ts";
import { processChecks } from "./process.ts";
import { proxyChecks } from "./proxy.ts";
import { registrationChecks } from "./registration.ts";
import { routeChecks } from "./routes.ts";
import { sharedCacheChecks } from "./shared-cache.ts";
import { checkUserToken, verifyUserToken } from "./user-token.ts";
import {
  type Check,
  type CheckName,
  fault,
  type Outcome,
  ok,
  once,
  type Verdict,
  warning,
} from "./verdict.ts";

export interface DoctorOptions {
  readonly expected?: Partial<FederatedIdentity>;
  readonly userToken?: Secret | undefined;
  /** Names of checks to leave out. */
  readonly skip?: readonly CheckName[];
  /** Default: the global `fetch`. */
  readonly fetch?: Fetch;
  /** Certificate authorities in PEM for downstream APIs, for tests. */
  readonly downstreamCa?: string;
  /** File descriptors of the process, for tests. Default: as the system shows them. */
  readonly descriptors?: FileDescriptors;
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number;
  /** Hears each verdict as soon as it stands. */
  readonly onVerdict?: (verdict: CheckedVerdict) => void;
}

export interface CheckedVerdict extends Verdict {
  readonly check: CheckName;
  readonly about?: string;
}

export interface Report {
  /** No fault was found. */
  readonly works: boolean;
  /** Whether there is a configuration at all; where there is none, nothing else was looked at. */
  readonly configured: boolean;
  /** How many verdicts of each outcome there are. */
  readonly summary: Readonly<Record<Outcome, number>>;
  readonly verdicts: readonly CheckedVerdict[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * One after the other: an operator reads along, and each check is bounded in time.
 *
 * @param environment May throw `ConfigurationError`, for a file of settings that cannot be read is a finding, too.
 */
export async function diagnose(environment: () => Environment, options: DoctorOptions = {}): Promise<Report> {
  const verdicts: CheckedVerdict[] = [];
  const note = ({ name, about }: Pick<Check, "name" | "about">, verdict: Verdict) => {
    const checked = { check: name, ...(about !== undefined && { about }), ...verdict };
    verdicts.push(checked);
    options.onVerdict?.(checked);
  };
  const count = (wanted: Outcome) => verdicts.filter(({ outcome }) => outcome === wanted).length;
  const report = (configured: boolean): Report => ({
    works: verdicts.every(({ outcome }) => outcome !== "fault"),
    configured,
    summary: {
      fault: count("fault"),
      warning: count("warning"),
      ok: count("ok"),
      skipped: count("skipped"),
    },
    verdicts,
  });

  const loaded = await load(environment, options);
  if ("faults" in loaded) {
    for (const verdict of loaded.faults) note({ name: "configuration" }, verdict);
    return report(false);
  }
  note({ name: "configuration" }, ok(`${loaded.file} and the environment are valid`));
  for (const { path, problem } of loaded.examination.config.notices)
    note(
      { name: "configuration" },
      warning(`${path} ${problem}`, `correct ${path} in the environment or in .env`),
    );

  for (const check of checksOf(loaded.examination)) {
    if (options.skip?.includes(check.name)) continue;
    note(check, await check.run().catch(undone));
  }
  return report(true);
}

function checksOf(examination: Examination): Check[] {
  const apis = Object.values(examination.config.downstreamApis);
  const verification = once(() => verifyUserToken(examination));
  return [
    ...registrationChecks(examination),
    ...routeChecks(examination),
    { name: "ports", run: () => checkPorts(examination) },
    ...processChecks(examination),
    ...proxyChecks(examination),
    ...authorityChecks(examination),
    ...credentialChecks(examination),
    { name: "user-token", run: async () => checkUserToken(await verification(), examination) },
    ...apis.map(
      (api): Check => ({
        name: "exchange",
        about: api.name,
        run: async () => checkExchange(api, await verification(), examination),
      }),
    ),
    ...sharedCacheChecks(examination),
    ...apis.map(
      (api): Check => ({
        name: "downstream",
        about: api.name,
        run: () => checkDownstream(api, examination),
      }),
    ),
    ...mcpChecks(examination),
  ];
}

async function examine(
  config: GatewayConfig,
  code: CodeParts,
  env: Environment,
  options: DoctorOptions,
): Promise<Examination> {
  const { tenantId, clientId, authorityHost } = config.application;
  const authority = resolveAuthority(authorityHost);
  const outbound = openOutbound(config.proxies);
  return {
    config,
    code,
    authority,
    registration: { tenantId, clientId, cloud: authority.cloud },
    fetch: options.fetch ?? outbound.fetch,
    directFetch: options.fetch ?? outbound.directFetch,
    proxyFor: outbound.proxyFor,
    now: options.now ?? Date.now,
    downstreamCa: options.downstreamCa,
    expected: options.expected ?? {},
    variables: new Set(Object.keys(env).filter((name) => Boolean(env[name]))),
    descriptors: options.descriptors,
    userToken: options.userToken,
  };
}

/** A defect of a check must not hide what the others find. Its message may hold anything, so the report names only its kind. */
function undone(error: unknown): Verdict {
  const kind = error instanceof Error ? error.name : typeof error;
  return fault(`the check itself failed (${kind})`, "leave it out with --skip, and report it as a defect");
}

async function load(
  environment: () => Environment,
  options: DoctorOptions,
): Promise<
  { readonly examination: Examination; readonly file: string } | { readonly faults: readonly Verdict[] }
> {
  try {
    const env = environment();
    const file = env.GATEWAY_CONFIG || "config/gateway.yaml";
    const config = await loadCheckedConfig(env);
    const code = await withModule({}, env.GATEWAY_HANDLERS);
    return { examination: await examine(config, code, env, options), file };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const faults = error.faults.map(({ path, problem }) =>
      fault(
        `${path}: ${problem}`,
        path === ".env"
          ? "make .env a file that this user may read, or move it away and set the environment instead"
          : /^[A-Z][A-Z0-9_]*$/.test(path)
            ? `set ${path} in the environment or in .env; docs/configuration.md says what it means`
            : `correct ${path} in the configuration file; config/gateway.schema.json lets an editor complete it`,
      ),
    );
    return { faults };
  }
}
