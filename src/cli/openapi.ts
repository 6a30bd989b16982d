/** `obo-gateway openapi`: what this configuration exposes, as OpenAPI 3.1. */

import { openapiDocument } from "../openapi.ts";
import { readConfiguration } from "./configuration.ts";

export async function openapi(options: {
  readonly config?: string;
  readonly server?: string;
}): Promise<void> {
  const configured = await readConfiguration(options.config);
  console.log(JSON.stringify(openapiDocument(configured, options.server), null, 2));
}
