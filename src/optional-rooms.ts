/** What only some configurations use, and which of their settings asks for it; docs/performance.md says what that saves. */

import type { GatewayConfig } from "./config/load.ts";
import { notAskedFor } from "./foundation/optional-modules.ts";

/** What decides about the rooms that are loaded. */
export interface AskingForRooms {
  readonly config: GatewayConfig;
  /** Whether code calls APIs for callers: handlers, or the app of another program. */
  readonly hasCode: boolean;
}

/** The doors of rooms that a configuration may do without. */
export type OptionalRooms = Awaited<ReturnType<typeof loadRooms>>;

/** Rejects when a room that is asked for cannot be loaded: a fault of the start or of a reload, and never of a request. */
export async function loadRooms({ config, hasCode }: AskingForRooms) {
  const hasRedis = config.exchange.cache.redis.url.reveal() !== "";
  const callsApis = hasCode || config.local !== undefined;
  // One after the other: they share most of what they import.
  const bridge = config.mcp && (await import("./mcp/bridge.ts"));
  const clients = callsApis ? await import("./downstream/client.ts") : undefined;
  const console = config.console.enabled ? await import("./console/console.ts") : undefined;
  const delegations = config.delegations && (await import("./delegations/delegations.ts"));
  const local = config.local && (await import("./local/local-side.ts"));
  const openapi = config.http.openapi ? await import("./openapi.ts") : undefined;
  const watchesPermissions = config.permissionsTable !== undefined;
  const permissions = watchesPermissions ? await import("./permission-watch.ts") : undefined;
  const redis = hasRedis ? await import("./redis/redis.ts") : undefined;
  return {
    createBridge: bridge?.createBridge ?? notAskedFor,
    /** Undefined where no code calls APIs. */
    clients,
    createConsole: console?.createConsole ?? notAskedFor,
    createDelegations: delegations?.createDelegations ?? notAskedFor,
    createLocalSide: local?.createLocalSide ?? notAskedFor,
    recognizeLocally: local?.recognizeLocally ?? notAskedFor,
    openapiDocument: openapi?.openapiDocument ?? notAskedFor,
    watchPermissions: permissions?.watchPermissions ?? notAskedFor,
    openRedis: redis?.openRedis ?? notAskedFor,
  };
}
