/** The watch of permissions: what it counts, what it explains, and what it never keeps. */

import { readFileSync } from "node:fs";
import { beforeEach, describe, expect, test } from "@jest/globals";
import type { ReportedRoute } from "../../src/permissions/report.ts";
import { readPermissionTable } from "../../src/permissions/table.ts";
import {
  createPermissionWatch,
  type ForbiddenCall,
  type PermissionDrift,
  type PermissionWatch,
} from "../../src/permissions/watch.ts";
import { PERMISSION_TABLE } from "../emulator/graph/permissions.ts";

const table = readPermissionTable(JSON.parse(readFileSync(PERMISSION_TABLE, "utf8")));
const scopes = ["https://graph.microsoft.com/.default"];
const ADA = { tenantId: "tenant", objectId: "ada", scopes };
const route = (...needs: string[]): ReportedRoute => ({
  path: "/graph/**",
  answeredBy: "API graph",
  api: "graph",
  needs,
});

let drifts: PermissionDrift[];
let forbidden: ForbiddenCall[];
let watch: PermissionWatch;
beforeEach(() => {
  drifts = [];
  forbidden = [];
  watch = createPermissionWatch({
    table,
    onDrift: (drift) => drifts.push(drift),
    onForbidden: (call) => forbidden.push(call),
  });
});

const call = (method: string, path: string, status = 200, holder = ADA) =>
  watch.answered({ api: "graph", method, path, status, holder });

describe("calls are counted", () => {
  test("by the spelling of the table, so that ids are none of it", () => {
    call("GET", "/me/messages/AAMkAGI2");
    call("HEAD", "/me/messages/another");
    call("GET", "/ME/Messages/third", 403);
    expect(watch.observed().calls).toEqual([
      { api: "graph", call: "GET /me/messages/{id}", count: 3, forbidden: 1 },
    ]);
  });

  test.each([
    ["/users/ada@contoso.example/joinedTeams", "GET /users/{id}/{id}"],
    ["/me/drive/root:/Secret%20plan.docx:/versions", "GET /me/drive/root:/{id}/{id}"],
    ["/me/messages/AAMk/attachments", "GET /me/messages/{id}/{id}"],
    ["/ada", "GET /{id}"],
  ])("of %s, which the table does not know, with words of the table alone", (path, counted) => {
    call("GET", path);
    expect(watch.observed().calls.map((one) => one.call)).toEqual([counted]);
  });

  test("one by one up to 500, and together past that", () => {
    const methods = Array.from({ length: 600 }, (_, index) => `M${index}`);
    for (const method of methods) call(method, "/me");
    call("M0", "/me");
    const { calls, uncounted } = watch.observed();
    expect([calls.length, uncounted, calls[0]?.count]).toEqual([500, 100, 2]);
  });
});

describe("a 403 is explained", () => {
  test("with what opens the call and what the user's token has", () => {
    watch.granted(ADA, ["https://graph.microsoft.com/User.Read", "openid"]);
    call("GET", "/me/manager", 403);
    expect(forbidden).toEqual([
      {
        api: "graph",
        call: "GET /me/manager",
        accepted: ["User.Read.All", "Directory.Read.All"],
        granted: ["User.Read"],
      },
    ]);
  });

  test.each<[string, string, number, readonly string[]]>([
    [
      "that has another cause, since a permission that opens the call is there",
      "/me/manager",
      403,
      ["user.read.all"],
    ],
    ["of a call that the table does not know", "/me/never", 403, ["User.Read"]],
    ["that is no 403", "/me/manager", 404, ["User.Read"]],
  ])("but not one %s", (_, path, status, granted) => {
    watch.granted(ADA, granted);
    call("GET", path, status);
    expect(forbidden).toEqual([]);
  });

  test("without a guess where Entra said nothing of this user's token", () => {
    watch.granted(ADA, ["User.Read.All"]);
    call("GET", "/me/manager", 403, { ...ADA, objectId: "grace" });
    call("GET", "/me/manager", 403, { ...ADA, tenantId: "another" });
    call("GET", "/me/manager", 403, { ...ADA, scopes: ["https://graph.microsoft.com/User.Read"] });
    expect(forbidden.map(({ granted }) => granted)).toEqual([undefined, undefined, undefined]);
  });
});

describe("a drift is reported", () => {
  test("once for each way in which routes and grants differ", () => {
    watch.compareWith([route("GET /me", "GET /me/manager")]);
    expect(drifts).toEqual([]);
    watch.granted(ADA, ["User.Read", "Files.Read"]);
    watch.granted(ADA, ["User.Read", "Files.Read"]);
    expect(drifts).toEqual([{ missing: ["User.Read.All"], unused: ["Files.Read"] }]);
    watch.granted(ADA, ["User.Read", "User.Read.All"]);
    expect(watch.drift()).toEqual({ missing: [], unused: [] });
    watch.granted(ADA, ["User.Read", "Files.Read"]);
    expect(drifts).toHaveLength(1);
  });

  test("anew when the routes change", () => {
    watch.compareWith([route("GET /me")]);
    watch.granted(ADA, ["User.Read"]);
    expect(drifts).toEqual([]);
    watch.compareWith([route("GET /me", "GET /me/messages")]);
    expect(drifts).toEqual([{ missing: ["Mail.ReadBasic"], unused: [] }]);
  });
});
