/** Files of this room that only some routes and settings use, and which of these asks for each. */

import { type Loaded, loadAskedFor, type OptionalModule } from "../foundation/optional-modules.ts";
import type { Bridge } from "../mcp/contract.ts";
import type { ToolRules } from "../mcp/tools/contract.ts";
import type { RateLimitRules } from "./contract.ts";

interface AskingRoute {
  readonly mcp?: boolean;
  readonly tools?: ToolRules | undefined;
  readonly limits?: RateLimitRules;
}

/** What decides about the files that are loaded. */
export interface AskingForParts {
  readonly proxyRoutes: readonly AskingRoute[];
  readonly codeRoutes: readonly AskingRoute[];
  readonly limits: RateLimitRules;
  readonly bridge?: Bridge | undefined;
  /** Whether other sides serve the same routes. */
  readonly hasSecondSides: boolean;
}

const OPTIONAL_PARTS = {
  mcpChallenges: [({ bridge }) => bridge !== undefined, () => import("./mcp-challenges.ts")],
  mcpEndpoints: [({ bridge }) => bridge !== undefined, () => import("./mcp-endpoints.ts")],
  mcpGate: [
    ({ proxyRoutes, codeRoutes }) => [...proxyRoutes, ...codeRoutes].some(({ mcp }) => mcp === true),
    () => import("./mcp-gate.ts"),
  ],
  rateLimits: [limitsSomething, () => import("./rate-limits.ts")],
  secondSides: [({ hasSecondSides }) => hasSecondSides, () => import("./second-side.ts")],
} as const satisfies Readonly<Record<string, OptionalModule<AskingForParts>>>;

export type OptionalParts = Loaded<typeof OPTIONAL_PARTS>;

export function loadParts(asking: AskingForParts): Promise<OptionalParts> {
  return loadAskedFor(OPTIONAL_PARTS, asking);
}

function limitsSomething({ limits, proxyRoutes, codeRoutes }: AskingForParts): boolean {
  const ofRoutes = [...proxyRoutes, ...codeRoutes].flatMap(({ limits: own, tools }) => [
    ...(own === undefined ? [] : [own]),
    ...Object.values(tools?.limits ?? {}),
  ]);
  return [limits, ...ofRoutes].some(isLimit);
}

/** Whether the rules limit anything at all. */
export function isLimit({ perUser, perClient }: RateLimitRules): boolean {
  return perUser !== undefined || perClient !== undefined;
}
