/** Files of this room that only some routes and settings use, and which of these asks for each. */

import type { OwnFields } from "../downstream/contract.ts";
import { notAskedFor } from "../foundation/optional-modules.ts";
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
  /** Sign-in of MCP clients; undefined where it is not configured. */
  readonly bridge?: Bridge | undefined;
  readonly own: OwnFields;
  /** Whether other sides serve the same routes. */
  readonly hasSecondSides: boolean;
}

/** What these files give. */
export type OptionalParts = Awaited<ReturnType<typeof loadParts>>;

/** Rejects when a file that is asked for cannot be loaded. */
export async function loadParts(asking: AskingForParts) {
  const { bridge, own, proxyRoutes, codeRoutes, hasSecondSides } = asking;
  const speaksMcp = [...proxyRoutes, ...codeRoutes].some(({ mcp }) => mcp === true);
  const signIn = bridge && (await import("./mcp-sign-in.ts")).createMcpSignIn(bridge, own);
  const gate = speaksMcp ? await import("./mcp-gate.ts") : undefined;
  const limits = limitsSomething(asking) ? await import("./rate-limits.ts") : undefined;
  const sides = hasSecondSides ? await import("./second-side.ts") : undefined;
  return {
    mcpSignIn: signIn,
    createMcpGate: gate?.createMcpGate ?? notAskedFor,
    /** Undefined where nothing is limited. */
    createRateLimits: limits?.createRateLimits,
    secondSides: sides?.secondSides ?? notAskedFor,
  };
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
