import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { acceptedPermissions, DELEGATED_PERMISSIONS, PERMISSION_TABLE } from "./graph/permissions.ts";
import type { Claims } from "./jws.ts";
import { type Client, startClient } from "./support.ts";

/** One path for each row of the table that the emulator answers, with what Graph says when a permission lacks. */
const CALLS: readonly (readonly [string, string, string])[] = [
  ["GET", "/me", "Authorization_RequestDenied"],
  ["GET", "/me/manager", "Authorization_RequestDenied"],
  ["GET", "/me/messages", "ErrorAccessDenied"],
  ["GET", "/me/messages/none", "ErrorAccessDenied"],
  ["PATCH", "/me/messages/none", "ErrorAccessDenied"],
  ["DELETE", "/me/messages/none", "ErrorAccessDenied"],
  ["GET", "/me/mailFolders/inbox/messages/delta", "ErrorAccessDenied"],
  ["POST", "/me/sendMail", "ErrorAccessDenied"],
  ["PUT", "/me/drive/root:/new.txt:/content", "Authorization_RequestDenied"],
  ["POST", "/me/drive/root:/new.txt:/createUploadSession", "Authorization_RequestDenied"],
  ["GET", "/me/drive/items/none/content", "Authorization_RequestDenied"],
  ["GET", "/users/0c4a7d90-2b6e-4f13-a5d8-91e7c3b0f002", "Authorization_RequestDenied"],
  ["GET", "/groups", "Authorization_RequestDenied"],
];

let client: Client;
/** One delegated token for each permission, holding that one alone. */
const tokens = new Map<string, string>();
beforeAll(async () => {
  client = await startClient();
  const { ordersApi } = client.emulator;
  const client_secret = client.emulator.addClientSecret(ordersApi.clientId);
  for (const permission of DELEGATED_PERMISSIONS) {
    client.emulator.revokeConsent({ clientId: ordersApi.clientId });
    client.emulator.grantConsent({ clientId: ordersApi.clientId, scopes: [permission] });
    const { body } = await client.exchange({
      client_id: ordersApi.clientId,
      client_assertion: undefined,
      client_assertion_type: undefined,
      client_secret,
      scope: `https://graph.microsoft.com/${permission}`,
      assertion: client.emulator.mintUserToken({ user: "ada", audience: ordersApi.clientId }),
    });
    tokens.set(permission, String(body.access_token));
  }
});
afterAll(() => client.close());

async function call(method: string, path: string, permission: string) {
  const response = await client.fetch(`${client.emulator.graphUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${tokens.get(permission)}`, "content-type": "application/json" },
    ...(method === "GET" ? {} : { body: "{}" }),
  });
  const text = await response.text();
  const body: unknown = response.status >= 400 ? JSON.parse(text) : {};
  return { status: response.status, code: ((body as Claims).error as Claims | undefined)?.code };
}

describe("a call is refused exactly where its token holds no accepted permission", () => {
  test.each(CALLS)("%s %s", async (method, path, code) => {
    const accepted = client.emulator.graph.acceptedPermissions(method, path) ?? [];
    expect(accepted.length).toBeGreaterThan(0);
    for (const permission of DELEGATED_PERMISSIONS) {
      const answer = await call(method, path, permission);
      const seen = [permission, answer.status === 403, answer.status === 403 ? answer.code : "passed"];
      const isAccepted = accepted.includes(permission);
      expect(seen).toEqual([permission, !isAccepted, isAccepted ? "passed" : code]);
    }
  });

  test("also as a part of a batch", async () => {
    const response = await client.fetch(`${client.emulator.graphUrl}/$batch`, {
      method: "POST",
      headers: { authorization: `Bearer ${tokens.get("User.Read")}`, "content-type": "application/json" },
      body: JSON.stringify({
        requests: [
          { id: "1", method: "GET", url: "/me" },
          { id: "2", method: "GET", url: "/me/messages" },
        ],
      }),
    });
    const { responses } = (await response.json()) as { responses: { id: string; status: number }[] };
    expect(Object.fromEntries(responses.map(({ id, status }) => [id, status]))).toEqual({ 1: 200, 2: 403 });
  });

  test("and nowhere once the check is off", async () => {
    client.emulator.graph.enforcePermissions(false);
    const { status } = await call("GET", "/me/messages", "User.Read");
    client.emulator.graph.enforcePermissions(true);
    expect(status).toBe(200);
    const lenient = await startClient({ enforceGraphPermissions: false });
    lenient.emulator.revokeConsent({});
    lenient.emulator.grantConsent({ scopes: ["User.Read"] });
    const answer = await lenient.getJson(`${lenient.emulator.graphUrl}/me/messages`, {
      authorization: `Bearer ${await lenient.graphToken("ada")}`,
    });
    await lenient.close();
    expect(answer.status).toBe(200);
  });
});

describe("the table", () => {
  test.each([
    ["GET", "/me/messages", ["Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"]],
    ["HEAD", "/me/messages", ["Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"]],
    ["get", "/ME/Messages", ["Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"]],
    ["GET", "/me/manager", ["User.Read.All", "Directory.Read.All"]],
    ["GET", "/me/drive/items/01ABC/content", ["Files.Read", "Files.ReadWrite"]],
    ["PUT", "/me/drive/root:/a b.txt:/content", ["Files.ReadWrite"]],
    ["POST", "/me/sendMail", ["Mail.Send"]],
    ["GET", "/me/photo/$value", undefined],
    ["DELETE", "/me", undefined],
    ["GET", "/me/messages/a/b", undefined],
    ["GET", "/me/messagesx", undefined],
    ["GET", "/", undefined],
  ])("says what %s %s needs", (method, path, expected) => {
    expect(acceptedPermissions(method, path)).toEqual(expected);
  });

  test("has the form of Graph's own: lower-case paths, schemes, least marks", () => {
    const { permissions } = JSON.parse(readFileSync(PERMISSION_TABLE, "utf8")) as {
      permissions: Record<
        string,
        {
          schemes: Record<string, unknown>;
          pathSets: { schemeKeys: string[]; paths: Record<string, string> }[];
        }
      >;
    };
    const rows = Object.values(permissions).flatMap(({ schemes, pathSets }) =>
      pathSets.flatMap(({ schemeKeys, paths }) =>
        Object.entries(paths).map(([path, mark]) => ({
          path,
          isLower: path === path.toLowerCase(),
          isMarked: /^(least=(DelegatedWork|DelegatedPersonal)(,DelegatedPersonal)?)?$/.test(mark),
          isOfScheme: schemeKeys.every((key) => key in schemes),
        })),
      ),
    );
    expect(rows.length).toBeGreaterThan(30);
    expect(rows.filter(({ isLower, isMarked, isOfScheme }) => !(isLower && isMarked && isOfScheme))).toEqual(
      [],
    );
  });
});
