/** The report of permissions, compared with what the emulator's Graph refuses: both read the same small table. */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Agent, fetch } from "undici";
import { type ReportedRoute, reportPermissions } from "../../src/permissions/report.ts";
import { readPermissionTable } from "../../src/permissions/table.ts";
import { startEmulator } from "../emulator/emulator.ts";
import { PERMISSION_TABLE } from "../emulator/graph/permissions.ts";
import type { Emulator } from "../emulator/handle.ts";

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

describe("beside the emulator's Graph", () => {
  const GRANTS: readonly (readonly string[])[] = [
    ["User.Read"],
    ["User.Read", "Mail.ReadBasic"],
    ["User.Read.All", "Files.Read"],
    ["Mail.ReadWrite", "Mail.Send", "User.ReadBasic.All"],
  ];
  let emulator: Emulator;
  let agent: Agent;
  beforeAll(async () => {
    emulator = await startEmulator();
    agent = new Agent({ connect: { ca: emulator.caCertificate } });
  });
  afterAll(async () => {
    await agent.close();
    await emulator.close();
  });

  /** A token for Graph as the exchange would give it, with these permissions and no others. */
  const graphToken = (scopes: readonly string[]) =>
    emulator.mintUserToken({
      user: "ada",
      audience: "https://graph.microsoft.com",
      version: "1.0",
      clientId: emulator.clientId,
      scopes: [...scopes],
    });

  async function isRefused(method: string, path: string, token: string): Promise<boolean> {
    const response = await fetch(`${emulator.graphUrl}${path}`, {
      method,
      dispatcher: agent,
      redirect: "manual",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(method !== "GET" && method !== "DELETE" && { body: "{}" }),
    });
    await response.arrayBuffer();
    // Any other answer means that the permission sufficed: an invented id is 404, an empty body 400.
    if (response.status === 401) throw new Error("the emulator did not take the token");
    return response.status === 403;
  }

  /** Calls of the table with ids filled in, repeated under each grant until there are 200. */
  const calls = Object.keys(table.compact.calls).map((call) => {
    const [method = "", path = ""] = call.split(" ");
    return { method, path: path.replaceAll("{id}", "invented-id") };
  });
  const shipped = ["/me", "/me/manager", "/me/messages", "/me/drive/items/invented-id/content"].map(
    (path) => ({
      method: "GET",
      path,
    }),
  );
  const generated = GRANTS.flatMap((granted) => calls.map((call) => ({ ...call, granted })));

  test("MISSING stands exactly where Graph answers 403: every call of shipped handlers, and 200 generated ones", async () => {
    const cases = [
      ...GRANTS.flatMap((granted) => shipped.map((call) => ({ ...call, granted }))),
      ...Array.from({ length: 200 }, (_, index) => generated[index % generated.length]),
    ].filter((one) => one !== undefined);
    const wrong: string[] = [];
    let refusals = 0;
    for (const { method, path, granted } of cases) {
      const reported = stateOf(`${method} ${path}`, granted)?.state;
      const refused = await isRefused(method, path, graphToken(granted));
      if (refused) refusals += 1;
      if ((reported === "missing") !== refused)
        wrong.push(
          `${method} ${path} with ${granted.join(" ")}: report ${reported}, Graph ${refused ? 403 : "passes"}`,
        );
    }
    expect(wrong).toEqual([]);
    expect(cases.length).toBeGreaterThanOrEqual(200);
    expect(refusals).toBeGreaterThan(20);
    expect(refusals).toBeLessThan(cases.length - 20);
  });
});
