/** What only some configurations use, and which of their settings asks for it; docs/performance.md says what that saves. */

import type { GatewayConfig } from "./config/load.ts";
import { type Loaded, loadAskedFor, type OptionalModule } from "./foundation/optional-modules.ts";

/** What decides about the rooms that are loaded. */
export interface AskingForRooms {
  readonly config: GatewayConfig;
  /** Whether code calls APIs for callers: handlers, or the app of another program. */
  readonly hasCode: boolean;
}

const OPTIONAL_ROOMS = {
  bridge: [({ config }) => config.mcp !== undefined, () => import("./mcp/bridge.ts")],
  clients: [
    ({ config, hasCode }) => hasCode || config.local !== undefined,
    () => import("./downstream/client.ts"),
  ],
  console: [({ config }) => config.console.enabled, () => import("./console/console.ts")],
  delegations: [
    ({ config }) => config.delegations !== undefined,
    () => import("./delegations/delegations.ts"),
  ],
  local: [({ config }) => config.local !== undefined, () => import("./local/local-side.ts")],
  openapi: [({ config }) => config.http.openapi, () => import("./openapi.ts")],
  permissions: [({ config }) => config.permissionsTable !== undefined, () => import("./permission-watch.ts")],
  redis: [({ config }) => config.exchange.cache.redis.url.reveal() !== "", () => import("./redis/redis.ts")],
} as const satisfies Readonly<Record<string, OptionalModule<AskingForRooms>>>;

export type OptionalRooms = Loaded<typeof OPTIONAL_ROOMS>;

export function loadRooms(asking: AskingForRooms): Promise<OptionalRooms> {
  return loadAskedFor(OPTIONAL_ROOMS, asking);
}
