/** Redirect URIs against their patterns. */

import { expect, test } from "@jest/globals";
import { createClients } from "../../../src/mcp/bridge/clients.ts";

const CLIENT = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c04";
const allows = (pattern: string, uri: string) =>
  createClients({ clientId: CLIENT, clients: {}, redirectUris: [pattern] }).allowsRedirect(CLIENT, uri);

test.each([
  ["http://localhost", "http://localhost"],
  ["http://localhost", "http://localhost/"],
  ["http://localhost", "http://localhost:4711"],
  ["http://localhost/callback", "http://localhost:4711/callback"],
  ["http://127.0.0.1:33418/", "http://127.0.0.1:9/"],
  ["http://[::1]/callback", "http://[::1]:8080/callback"],
  ["http://localhost/**", "http://localhost/"],
  ["http://localhost/**", "http://localhost:1/a/b/c"],
  ["https://chat.example/connector/*", "https://chat.example/connector/a-b_c.d~1"],
  ["https://chat.example:8443/callback", "https://chat.example:8443/callback"],
  ["cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback"],
  ["com.example.agent:/callback", "com.example.agent:/callback"],
])("%s allows %s", (pattern, uri) => {
  expect(allows(pattern, uri)).toBe(true);
});

test.each([
  ["http://localhost", "http://localhost/callback"],
  ["http://localhost/callback", "http://localhost/callback/"],
  ["http://localhost/callback", "http://localhost/callback/more"],
  ["http://localhost/callback", "http://127.0.0.1/callback"],
  ["http://localhost/**", "http://localhost/a%2fb"],
  ["http://localhost/**", "http://localhost/a;b"],
  ["http://localhost/**", "https://localhost/a"],
  ["https://chat.example/connector/*", "https://chat.example/connector/"],
  ["https://chat.example/connector/*", "https://chat.example/connector/a/b"],
  ["https://chat.example/connector/*", "https://chat.example/connector/%2e%2e"],
  ["https://chat.example/connector/*", "https://chat.example/other/a"],
  ["https://chat.example/callback", "https://chat.example:8443/callback"],
  ["https://chat.example/callback", "https://evil.example/callback"],
  ["https://chat.example/callback", "https://chat.example/CALLBACK"],
  ["cursor://anysphere.cursor-mcp/oauth/callback", "cursor://evil/oauth/callback"],
  ["com.example.agent:/callback", "com.example.other:/callback"],
])("%s does not allow %s", (pattern, uri) => {
  expect(allows(pattern, uri)).toBe(false);
});
