/** What every check may look at: the configuration as the gateway reads it, and how to reach the outside. */

import type { CodeParts } from "../code-routes.ts";
import type { GatewayConfig } from "../config/load.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { FileDescriptors } from "../foundation/file-descriptors.ts";
import type { Secret } from "../foundation/secret.ts";
import type { Authority } from "../identity/contract.ts";
import type { ProxyFor } from "../outbound/contract.ts";
import type { FederatedIdentity, Registration } from "./commands.ts";

/** Names of variables that are set, for what no other setting shows. */
export type SetVariables = ReadonlySet<string>;

export interface Examination {
  readonly config: GatewayConfig;
  /** What the module that `GATEWAY_HANDLERS` names adds. */
  readonly code: CodeParts;
  readonly authority: Authority;
  readonly registration: Registration;
  readonly fetch: Fetch;
  /** Never goes through a proxy. */
  readonly directFetch: Fetch;
  readonly proxyFor: ProxyFor;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Certificate authorities in PEM for downstream APIs, for tests. */
  readonly downstreamCa?: string | undefined;
  /** The federated credential as it was registered, as far as the operator says. */
  readonly expected: Partial<FederatedIdentity>;
  /** Variables that are set to something. */
  readonly variables: SetVariables;
  /** For tests. Default: this process'. */
  readonly descriptors?: FileDescriptors | undefined;
  /** A user's access token for the gateway, to look at and to exchange. */
  readonly userToken: Secret | undefined;
}

/** Milliseconds for one question to the network. */
export const ANSWER_LIMIT_MS = 8_000;
