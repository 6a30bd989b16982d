/** The module that `GATEWAY_HANDLERS` names. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { ConfigurationError } from "../src/errors.ts";
import { partsOfModule } from "../src/parts-module.ts";

const directory = mkdtempSync(join(tmpdir(), "parts-"));
afterAll(() => rmSync(directory, { recursive: true }));

const HANDLER = `{ method: "get", uses: [], handler(_request, response) { response.json({}); } }`;
const POLICY = `{ requiredScopes: [], requiredRoles: [], allowedClients: [], callers: "user" }`;

function written(name: string, text: string): string {
  const file = join(directory, name);
  writeFileSync(file, text);
  return file;
}

test.each([
  ["an ES module", "one.mjs", `export const handlers = { hello: ${HANDLER} };`],
  ["a default export", "two.mjs", `export default { handlers: { hello: ${HANDLER} } };`],
])("takes handlers from %s", async (_, name, text) => {
  const { handlers, routes } = await partsOfModule(written(name, text));
  expect([Object.keys(handlers), routes]).toEqual([["hello"], []]);
});

test("takes routes", async () => {
  const route = `{ ...${HANDLER}, path: "/hello", policy: ${POLICY} }`;
  const { routes } = await partsOfModule(written("routes.mjs", `export const routes = [${route}];`));
  expect(routes).toMatchObject([{ path: "/hello" }]);
});

test.each([
  ["a file that is not there", "absent.mjs", undefined, "cannot be loaded"],
  ["code that throws", "throws.mjs", "throw new Error('at the start');", "at the start"],
  ["no export", "empty.mjs", "export const other = 1;", "exports neither handlers nor routes"],
  ["handlers that are a list", "list.mjs", `export const handlers = [${HANDLER}];`, "no object"],
  [
    "a handler without method",
    "method.mjs",
    "export const handlers = { a: { uses: [], handler() {} } };",
    "exports a,",
  ],
  [
    "routes without a policy",
    "policy.mjs",
    `export const routes = [{ ...${HANDLER}, path: "/a" }];`,
    "routes that are no list",
  ],
])("refuses %s and names the variable", async (_, name, text, problem) => {
  const file = text === undefined ? join(directory, name) : written(name, text);
  const refusal: unknown = await partsOfModule(file).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(ConfigurationError);
  expect((refusal as ConfigurationError).faults).toEqual([
    { path: "GATEWAY_HANDLERS", problem: expect.stringContaining(problem) },
  ]);
});
