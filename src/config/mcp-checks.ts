/** Checks of `mcp` across keys: what sign-in through the gateway needs of routes, public address and registrations. */

import type { ConfigurationFault } from "../errors.ts";
import { GRAPH_MCP } from "../foundation/graph-mcp.ts";
import { list, members } from "./cross-checks.ts";

/** The endpoints of the bridge and the folders of its documents, where no route may stand. */
const TAKEN = ["/oauth2/authorize", "/oauth2/token", "/oauth2/register", "/.well-known"];

/** Looks at the file as written, like the other cross-checks. */
export function mcpFaults(file: unknown, gatewayClientId: string | undefined): ConfigurationFault[] {
  const { mcp, routes, http, identity } = members(file);
  if (mcp === undefined || mcp === null) return [];
  const all = list(routes).map(members);
  const { clientId } = members(mcp);
  const faults: ConfigurationFault[] = [...addressFaults(members(http))];
  if (!all.some(speaksMcp))
    faults.push({
      path: "mcp",
      problem: "has no route to sign in for; set mcp: true on a route, or leave mcp out",
    });
  if (isSameId(clientId, gatewayClientId))
    faults.push({
      path: "mcp.clientId",
      problem:
        "is the gateway itself (AZURE_CLIENT_ID); Entra refuses a client that asks for its own scopes (AADSTS90009), so register a public client",
    });
  faults.push(...clientFaults("identity.allowedClients", members(identity).allowedClients, clientId));
  all.forEach((route, index) => {
    faults.push(...placeFaults(route, index));
    if (speaksMcp(route)) faults.push(...routeFaults(route, `routes[${index}]`, clientId));
  });
  return faults;
}

/** A handler that is a server of MCP itself needs no further word. */
function speaksMcp({ mcp, handler }: Record<string, unknown>): boolean {
  return mcp === true || handler === GRAPH_MCP;
}

/** RFC 8414 §2 asks for https; a demo on one machine has none. The probe would hide an endpoint. */
function addressFaults({ publicUrl, probePath }: Record<string, unknown>): ConfigurationFault[] {
  const faults: ConfigurationFault[] = [];
  if (publicUrl === undefined)
    faults.push({
      path: "http.publicUrl",
      problem: "is missing; MCP clients compare it with the documents of the gateway, and mcp needs it",
    });
  else if (typeof publicUrl === "string" && URL.canParse(publicUrl)) {
    const { protocol, hostname, search, hash, username, password } = new URL(publicUrl);
    if (protocol === "http:" && !["localhost", "127.0.0.1", "[::1]"].includes(hostname))
      faults.push({
        path: "http.publicUrl",
        problem: "must be https where mcp is set, except on a loopback address",
      });
    if (search + hash + username + password !== "")
      faults.push({
        path: "http.publicUrl",
        problem: "must not hold a query, a fragment or user information where mcp is set",
      });
  }
  if (typeof probePath === "string" && TAKEN.includes(probePath))
    faults.push({
      path: "http.probePath",
      problem: `${probePath} is an endpoint of mcp; choose another path`,
    });
  return faults;
}

function placeFaults({ path }: Record<string, unknown>, index: number): ConfigurationFault[] {
  if (typeof path !== "string") return [];
  const met = TAKEN.find((taken) => isInside(taken, path) || isInside(path, taken));
  if (met === undefined) return [];
  return [
    {
      path: `routes[${index}].path`,
      problem: `${path} meets ${met}, where mcp answers; choose another path`,
    },
  ];
}

function routeFaults(route: Record<string, unknown>, path: string, clientId: unknown): ConfigurationFault[] {
  const faults = clientFaults(`${path}.allowedClients`, route.allowedClients, clientId);
  if (list(route.requiredScopes).length === 0)
    faults.push({
      path: `${path}.requiredScopes`,
      problem: "is missing; MCP clients sign in for the scopes that it names",
    });
  return faults;
}

/** A list of clients that lacks the one of all MCP clients refuses each of their tokens. */
function clientFaults(path: string, allowed: unknown, clientId: unknown): ConfigurationFault[] {
  const clients = list(allowed);
  if (clients.length === 0 || typeof clientId !== "string" || clients.some((one) => isSameId(one, clientId)))
    return [];
  return [
    { path, problem: "lacks mcp.clientId, so that the token of every MCP client would be refused; add it" },
  ];
}

function isSameId(one: unknown, other: unknown): boolean {
  return typeof one === "string" && typeof other === "string" && one.toLowerCase() === other.toLowerCase();
}

function isInside(path: string, mount: string): boolean {
  return path === mount || path.startsWith(`${mount}/`);
}
