/** The description of what a configuration exposes, read by an independent validator of OpenAPI. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { Validator } from "@seriousme/openapi-schema-validator";
import { loadConfig } from "../src/config/load.ts";
import { mountHandlers, shippedHandlers } from "../src/handlers/mount.ts";
import { openapiDocument } from "../src/openapi.ts";
import { TEST_YAML } from "./support/gateway.ts";

const directory = mkdtempSync(join(tmpdir(), "openapi-"));
afterAll(() => rmSync(directory, { recursive: true }));

const CLIENT = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01";

function describe(yaml: string) {
  const file = join(directory, "gateway.yaml");
  writeFileSync(file, yaml);
  const config = loadConfig({
    GATEWAY_CONFIG: file,
    AZURE_TENANT_ID: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01",
    AZURE_CLIENT_ID: CLIENT,
    AZURE_CLIENT_SECRET: "for a test",
    GRAPH_URL: "http://127.0.0.1:1",
    TOKEN_CACHE_KEYS: `${"A".repeat(43)}=`,
  });
  const document = openapiDocument({
    config,
    codeRoutes: mountHandlers(config.handlerRoutes, shippedHandlers),
  });
  return JSON.parse(JSON.stringify(document));
}

test("is valid OpenAPI 3.1", async () => {
  const validator = new Validator();
  expect(await validator.validate(describe(TEST_YAML))).toEqual({ valid: true });
  expect(validator.version).toBe("3.1");
});

test("the validator finds a fault", async () => {
  const document = describe(TEST_YAML);
  document.paths["/graph/me"].get.responses = { never: {} };
  expect(await new Validator().validate(document)).toMatchObject({ valid: false });
});

test("names methods, scopes, parameters, bodies and problems of a route", () => {
  const { paths, components } = describe(TEST_YAML);
  expect(Object.keys(paths["/graph/me"])).toEqual(["get", "head", "post", "put"]);
  expect(paths["/graph/me"].get.security).toEqual([{ entra: [`api://${CLIENT}/access_as_user`] }]);
  expect(paths["/admin/me"].get.security).toEqual([
    { entra: [`api://${CLIENT}/admin.read`] },
    { entra: [`api://${CLIENT}/admin.write`] },
  ]);
  expect(paths["/graph/me"].post.requestBody).toBeDefined();
  expect(paths["/graph/me"].get.requestBody).toBeUndefined();
  expect(paths["/graph/me/{path}"].get.parameters).toMatchObject([
    { name: "path", in: "path", required: true },
  ]);
  expect(paths["/graph/users/{segment1}"]).toBeDefined();
  expect(paths["/api/files/{id}"].get.parameters).toMatchObject([{ name: "id" }]);
  expect(paths["/graph/me"].get.responses["429"].description).toContain("rate_limited");
  expect(Object.keys(components.securitySchemes.entra.flows.authorizationCode.scopes)).toContain(
    `api://${CLIENT}/admin.write`,
  );
});

test("paths that differ in names of parameters alone become one, with the methods of both", async () => {
  const document = describe(
    TEST_YAML.replace('allow: ["/me", "/me/**", "/users/*"]', 'allow: ["/users/*", "/users/**"]'),
  );
  expect(Object.keys(document.paths).filter((path) => path.startsWith("/graph/users"))).toEqual([
    "/graph/users/{segment1}",
  ]);
  expect(await new Validator().validate(document)).toEqual({ valid: true });
});

test("describes delegations where they are configured, and the field on the routes that take it", async () => {
  const yaml = `${TEST_YAML}
delegations: { clients: [${CLIENT}], routes: [/graph], requiredScopes: [access_as_user], adminRole: Delegations.Admin }
`.replace("exchange:\n", 'exchange:\n  cache: { redis: { url: "redis://127.0.0.1" } }\n');
  const document = describe(yaml);
  expect(await new Validator().validate(document)).toEqual({ valid: true });
  const { paths } = document;
  expect(Object.keys(paths["/delegations"])).toEqual(["post", "get"]);
  expect(paths["/delegations"].post.responses).toHaveProperty("201");
  expect(paths["/delegations"].post.requestBody).toBeUndefined();
  expect(paths["/delegations"].post.security).toEqual([{ entra: [`api://${CLIENT}/access_as_user`] }]);
  expect(paths["/delegations/{id}"].delete).toMatchObject({
    summary: expect.stringContaining("Delegations.Admin"),
    parameters: [{ name: "id", in: "path" }],
  });
  expect(paths["/graph/me"].get.parameters).toMatchObject([
    { name: "Delegation", in: "header", required: false },
  ]);
  expect(paths["/admin/me"].get.parameters).toBeUndefined();
  expect(paths["/graph/me"].get.responses["401"].description).toContain("delegation_ended");
  expect(describe(TEST_YAML).paths["/delegations"]).toBeUndefined();
});
