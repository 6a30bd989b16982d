/** The JSON Schema of gateway.yaml, derived from the schema that the gateway itself obeys. */

import { gatewayYaml } from "./schema.ts";
import { z } from "./zod.ts";

const SCALARS: ReadonlySet<unknown> = new Set(["integer", "number", "boolean"]);

/** Where a reference such as `${AZURE_TENANT_ID}` stands, the value's own form is not known to an editor. */
const REFERENCE = "\\$\\{[A-Za-z_]";

/** The JSON Schema that editors and the drift check use. It describes the file as written, references included. */
export function gatewayJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(gatewayYaml, {
    io: "input",
    override: ({ jsonSchema }) => {
      const constrained = "pattern" in jsonSchema || "format" in jsonSchema;
      if (!constrained && !SCALARS.has(jsonSchema.type)) return;
      const { description, default: fallback, ...rest } = { ...jsonSchema };
      for (const key of Object.keys(jsonSchema)) delete jsonSchema[key as keyof typeof jsonSchema];
      Object.assign(jsonSchema, {
        ...(description !== undefined && { description }),
        ...(fallback !== undefined && { default: fallback }),
        anyOf: [rest, { type: "string", pattern: REFERENCE }],
      });
    },
  }) as Record<string, unknown>;
}
