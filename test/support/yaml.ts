/** A gateway.yaml of the emulator's tenant: a test says the APIs and the routes that it is about, and nothing besides. */

export interface YamlParts {
  /** By name: the variable that holds its address, and its further keys, one a line. Default: the emulator's Graph. */
  readonly apis?: Readonly<Record<string, readonly [addressVariable: string, ...keys: string[]]>>;
  readonly routes: readonly string[];
  /** Further sections, one a line. */
  readonly sections?: readonly string[];
}

export function yamlOf({ apis = { graph: ["GRAPH_URL"] }, routes, sections = [] }: YamlParts): string {
  return [
    "identity:",
    '  tenants: ["${AZURE_TENANT_ID}"]',
    '  audiences: ["${AZURE_CLIENT_ID}", "api://${AZURE_CLIENT_ID}"]',
    "downstreamApis:",
    ...Object.entries(apis).flatMap(([name, [addressVariable, ...keys]]) => [
      `  ${name}:`,
      `    baseUrl: "\${${addressVariable}}"`,
      "    scopes: [https://graph.microsoft.com/.default]",
      "    allowPrivateNetwork: true",
      ...keys.map((key) => `    ${key}`),
    ]),
    "routes:",
    ...routes.map((route) => `  - ${route}`),
    ...sections,
    "",
  ].join("\n");
}
