/** The handler that is a server of the Model Context Protocol itself, and calls Graph with the methods of its route: its name in gateway.yaml. */

export const GRAPH_MCP = "graph-mcp";
