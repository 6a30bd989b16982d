/** The report of permissions, compared with what the emulator's Graph refuses: both read the same small table. */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { shippedHandlers } from "../../src/handlers/mount.ts";
import { type ReportedRoute, reportPermissions } from "../../src/permissions/report.ts";
import { readPermissionTable } from "../../src/permissions/table.ts";
import { DELEGATED_PERMISSIONS, PERMISSION_TABLE } from "../emulator/graph/permissions.ts";
import { type Client, startClient } from "../emulator/support.ts";

const document = JSON.parse(readFileSync(PERMISSION_TABLE, "utf8"));
const table = readPermissionTable(document);

const route = (needs: readonly string[] | undefined): ReportedRoute => ({
  path: "/graph/**",
  answeredBy: "API graph",
  api: "graph",
  needs,
});
const stateOf = (need: string, granted?: readonly string[]) => {
  const [reported] = reportPermissions([route([need])], table, granted).routes;
  if (reported === undefined || reported.needs === "undeclared") throw new Error("no need was reported");
  return reported.needs[0];
};

describe("a report of permissions", () => {
  test("names the least permission of a call, and whether a granted one opens it", () => {
    expect(stateOf("GET /me/manager", ["User.Read"])).toMatchObject({
      state: "missing",
      least: ["User.Read.All"],
    });
    expect(stateOf("GET /me", ["https://graph.microsoft.com/User.Read"])).toMatchObject({ state: "granted" });
    expect(stateOf("GET /me")).toMatchObject({ state: "not_compared" });
  });

  test("says unknown for a call that the table lacks, and then calls no granted permission unused", () => {
    expect(stateOf("GET /me/never-heard-of", ["User.Read"])).toMatchObject({
      state: "unknown",
      accepted: [],
    });
    const unknown = reportPermissions([route(["GET /me", "GET /me/never"])], table, [
      "User.Read",
      "Files.Read",
    ]);
    expect(unknown.unused).toEqual([]);
    const known = reportPermissions([route(["GET /me"])], table, [
      "User.Read",
      "Files.Read",
      "offline_access",
    ]);
    expect(known.unused).toEqual(["Files.Read"]);
    const undeclared = reportPermissions([route(["GET /me"]), route(undefined)], table, ["Files.Read"]);
    expect(undeclared.unused).toEqual([]);
  });

  test("reports a pattern as a range with the number of its calls, and never as one missing permission", () => {
    const below = stateOf("GET /me/**", ["User.Read"]);
    expect(below).toMatchObject({ state: "range" });
    expect(below?.calls?.known).toBeGreaterThan(3);
    expect(below?.calls?.closed).toBeGreaterThan(0);
    expect(below?.calls?.closed).toBeLessThan(below?.calls?.known ?? 0);
    expect(reportPermissions([route(["GET /me/**"])], table, []).missing).toEqual([]);
    expect(stateOf("GET /nowhere/**", [])).toMatchObject({ state: "unknown" });
  });

  test("is the same from the compact form as from Graph's own", () => {
    const compact = readPermissionTable(JSON.parse(JSON.stringify(table.compact)));
    expect(compact.compact).toEqual(table.compact);
    for (const need of ["GET /me", "GET /me/manager", "GET /me/messages/AAMk", "GET /me/**", "PUT /me"])
      expect(reportPermissions([route([need])], compact, ["Mail.Read"])).toEqual(
        reportPermissions([route([need])], table, ["Mail.Read"]),
      );
  });

  test("keeps two marks, no mark, and the marks of personal accounts apart", () => {
    const pathSet = (paths: Record<string, string>, schemeKeys = ["DelegatedWork", "DelegatedPersonal"]) => ({
      pathSets: [{ schemeKeys, methods: ["GET"], paths }],
    });
    const small = readPermissionTable({
      permissions: {
        One: pathSet({ "/a": "least=DelegatedWork", "/b": "", "/c": "least=DelegatedPersonal" }),
        Two: pathSet({ "/a": "least=DelegatedWork,Application", "/b": "" }),
        Three: pathSet({ "/a": "least=Application" }, ["Application"]),
      },
    });
    expect(small.opening("GET", "/A")).toMatchObject({ least: ["One", "Two"], accepted: ["One", "Two"] });
    expect(small.opening("GET", "/b")).toMatchObject({ least: [], accepted: ["One", "Two"] });
    expect(small.opening("GET", "/c")).toMatchObject({ least: [], accepted: ["One"] });
  });

  test.each([{}, [], null, { format: "another" }, "text"])("refuses %j as a table", (written) => {
    expect(() => readPermissionTable(written)).toThrow(SyntaxError);
  });
});

/** Calls that the emulator's Graph answers; what stands in braces is filled in anew for each generated route. */
const ANSWERED = [
  "GET /me",
  "GET /me/manager",
  "GET /me/messages",
  "GET /me/messages/{id}",
  "PATCH /me/messages/{id}",
  "DELETE /me/messages/{id}",
  "GET /me/mailFolders/inbox/messages/delta",
  "POST /me/sendMail",
  "PUT /me/drive/root:/{id}.txt:/content",
  "POST /me/drive/root:/{id}.txt:/createUploadSession",
  "GET /me/drive/items/{id}/content",
  "GET /users/{id}",
  "GET /groups",
];

const shipped: readonly string[] = Object.values(shippedHandlers).flatMap(({ needs = [] }) => needs);

describe("beside the emulator's Graph", () => {
  let client: Client;
  const tokens = new Map<string, string>();
  /** Each permission alone, and pairs of neighbours in the table. */
  const grants = DELEGATED_PERMISSIONS.flatMap((name, index, all) => [
    [name],
    [name, all[(index + 1) % all.length] ?? name],
  ]);
  beforeAll(async () => {
    client = await startClient();
    const { ordersApi } = client.emulator;
    const client_secret = client.emulator.addClientSecret(ordersApi.clientId);
    for (const granted of grants) {
      client.emulator.revokeConsent({ clientId: ordersApi.clientId });
      client.emulator.grantConsent({ clientId: ordersApi.clientId, scopes: granted });
      const { body } = await client.exchange({
        client_id: ordersApi.clientId,
        client_assertion: undefined,
        client_assertion_type: undefined,
        client_secret,
        scope: granted.map((name) => `https://graph.microsoft.com/${name}`).join(" "),
        assertion: client.emulator.mintUserToken({ user: "ada", audience: ordersApi.clientId }),
      });
      tokens.set(granted.join(" "), String(body.access_token));
    }
  });
  afterAll(() => client.close());

  async function isRefused(need: string, granted: readonly string[]): Promise<boolean> {
    const [method = "", path = ""] = need.split(" ");
    const response = await client.fetch(`${client.emulator.graphUrl}${path}`, {
      method,
      redirect: "manual",
      headers: {
        authorization: `Bearer ${tokens.get(granted.join(" "))}`,
        "content-type": "application/json",
      },
      ...(method === "GET" || method === "DELETE" ? {} : { body: "{}" }),
    });
    await response.arrayBuffer();
    if (response.status === 401) throw new Error(`the emulator did not take the token for ${need}`);
    // Any other answer means that the permission sufficed: an invented id is 404, an empty body 400.
    return response.status === 403;
  }

  async function compare(cases: readonly { readonly need: string; readonly granted: readonly string[] }[]) {
    const wrong: string[] = [];
    let refusals = 0;
    for (const { need, granted } of cases) {
      const reported = stateOf(need, granted)?.state;
      const refused = await isRefused(need, granted);
      if (refused) refusals += 1;
      if (reported !== (refused ? "missing" : "granted"))
        wrong.push(
          `${need} with ${granted.join(" ")}: ${reported}, but Graph ${refused ? "refuses" : "passes"}`,
        );
    }
    expect(wrong).toEqual([]);
    // Neither answer is the only one.
    expect(refusals).toBeGreaterThan(cases.length / 20);
    expect(refusals).toBeLessThan(cases.length);
  }

  test("the report says MISSING exactly where Graph answers 403, for every shipped handler", async () => {
    const needs = shipped.map((need) => need.replaceAll(/\{[^}]*\}/g, "invented-id"));
    expect(needs.length).toBeGreaterThanOrEqual(4);
    await compare(needs.flatMap((need) => grants.map((granted) => ({ need, granted }))));
  });

  test("the same for 200 generated routes", async () => {
    await compare(
      Array.from({ length: 200 }, (_, index) => ({
        need: (ANSWERED[index % ANSWERED.length] ?? "").replaceAll("{id}", randomUUID()),
        granted: grants[(index * 7) % grants.length] ?? [],
      })),
    );
  });
});
