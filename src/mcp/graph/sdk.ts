/** Offers tools by the official SDK: the only file that knows it. It is loaded with the first request to a handler that needs it. */

import type { ToolDefinition } from "./contract.ts";

type Sdk = typeof import("@modelcontextprotocol/server");

export type ServeTools = (request: Request, tools: readonly ToolDefinition[]) => Promise<Response>;

const IDENTITY = { name: "obo-gateway-graph", title: "Microsoft Graph", version: "1.0.0" };

/** Answers one POST of either era, without a session: as JSON, so that nothing of it has left when a tool is refused. */
export async function loadToolServer(): Promise<ServeTools> {
  const sdk = await import("@modelcontextprotocol/server");
  // Compiled once for all requests: the arguments of a tool are the same for every caller.
  const schemas = new Map<string, ReturnType<Sdk["fromJsonSchema"]>>();
  const schemaOf = ({ inputSchema }: ToolDefinition) => {
    const key = JSON.stringify(inputSchema);
    const schema = schemas.get(key) ?? sdk.fromJsonSchema(inputSchema);
    schemas.set(key, schema);
    return schema;
  };
  const open = (tools: readonly ToolDefinition[]) => {
    const server = new sdk.McpServer(IDENTITY);
    for (const tool of tools) {
      const { name, description, annotations } = tool;
      server.registerTool(
        name,
        { title: annotations.title, description, annotations, inputSchema: schemaOf(tool) },
        async (input) => tool.run(input as Readonly<Record<string, unknown>>) as never,
      );
    }
    return server;
  };
  return async (request, tools) => {
    if (!(await sdk.isLegacyRequest(request))) {
      // No list changes, so a subscription to changes would only be held open.
      const handler = sdk.createMcpHandler(() => open(tools), { legacy: "reject", maxSubscriptions: 0 });
      return handler.fetch(request);
    }
    const server = open(tools);
    const transport = new sdk.WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: undefined,
      enableJsonResponse: true,
    });
    await server.connect(transport);
    try {
      return await transport.handleRequest(request);
    } finally {
      await server.close();
    }
  };
}
