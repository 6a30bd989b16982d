/** `handler: graph-mcp`: Graph as three tools of a server of the Model Context Protocol, inside the route's paths and methods. */

import type { GatewayError } from "../../errors.ts";
import type { RouteHandler } from "../../http/code-route.ts";
import type { PermissionTable } from "../../permissions/table.ts";
import { operationsOf } from "./operations.ts";
import { loadToolServer, type ServeTools } from "./sdk.ts";
import { createGraphTools } from "./tools.ts";

export interface GraphMcpOptions {
  /** Graph's table of permissions, where the operator names one. */
  readonly table: PermissionTable | undefined;
  /** Downstream paths that calls may have. */
  readonly allow: readonly string[];
  /** Methods that calls may have. */
  readonly methods: readonly string[];
}

export function createGraphMcp({ table, allow, methods }: GraphMcpOptions): RouteHandler<"graph"> {
  let serving: Promise<ServeTools> | undefined;
  /** With the first request: commands that only list routes need none of it. */
  const load = () => {
    serving ??= loadToolServer();
    return serving;
  };
  const operations = operationsOf(table, { allow, methods });
  return {
    method: "post",
    uses: ["graph"],
    mcp: true,
    needs: methods.flatMap((method) => allow.map((pattern) => `${method} ${pattern}`)),
    async handler(request, response, { downstream: { graph }, grantedScopes, signal }) {
      let refused: GatewayError | undefined;
      const tools = createGraphTools({
        operations,
        methods,
        client: graph,
        granted: () => grantedScopes("graph"),
        onRefused: (error) => {
          refused ??= error;
        },
      });
      const serve = await load();
      const answer = await serve(webRequest(request, signal), tools);
      // A demand on the user is HTTP's matter: clients follow its challenge and repeat the call.
      if (refused !== undefined) {
        await answer.body?.cancel();
        throw refused;
      }
      response.statusCode = answer.status;
      for (const [name, value] of answer.headers) response.setHeader(name, value);
      // Results are bounded, and JSON: nothing of the answer is worth a stream.
      response.end(Buffer.from(await answer.arrayBuffer()));
    },
  };
}

/** Fields by which the SDK tells the eras apart. The caller's token is none of them. */
const FIELDS = ["accept", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version"];

function webRequest(
  { headers, body }: { readonly headers: Readonly<Record<string, unknown>>; readonly body?: unknown },
  signal: AbortSignal,
): Request {
  const fields = Object.entries(headers).filter(
    ([name]) => FIELDS.includes(name) || name.startsWith("mcp-param-"),
  );
  return new Request("http://localhost/", {
    method: "POST",
    headers: fields.map(([name, value]): [string, string] => [name, String(value)]),
    body: new Uint8Array(body as Buffer),
    signal,
  });
}
