import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { grantPermissions } from "./entra/consent.ts";
import { createDirectory } from "./entra/directory.ts";
import { seedDirectory } from "./entra/seed.ts";
import { decodeJws } from "./jws.ts";
import { deviceRequest, gatewayScope, pageRequest, personAt } from "./sign-in-requests.ts";
import { aadsts, type Client, startClient } from "./support.ts";

const GRAPH = "https://graph.microsoft.com";

let client: Client;
let seeded: string[];
beforeAll(async () => {
  client = await startClient();
  const { body } = await client.exchange({ scope: `${GRAPH}/User.Read` });
  seeded = String(body.scope)
    .split(" ")
    .map((scope) => scope.slice(GRAPH.length + 1));
});
// As an administrator would leave it: only what was granted at the start.
afterEach(() => {
  const { emulator } = client;
  emulator.setUserConsent({ allowed: true });
  emulator.revokeConsent({ clientId: emulator.publicClientId, resource: GRAPH });
  emulator.revokeConsent({});
  emulator.grantConsent({ scopes: seeded });
  emulator.grantConsent({ scopes: ["orders.read"], resource: emulator.ordersApi.clientId });
});
afterAll(() => client.close());

const CALENDARS = `${GRAPH}/Calendars.Read`;
const GROUPS = `${GRAPH}/Group.Read.All`;
const ask = (scope: string, changes: Record<string, string> = {}) =>
  deviceRequest(client.emulator, { scope: `${scope} openid`, ...changes });
const adminConsent = (parameters: Record<string, string>) =>
  `${client.emulator.authorityHost}${client.emulator.tenantId}/v2.0/adminconsent?${new URLSearchParams(parameters)}`;

describe("a permission that is not granted", () => {
  test("is asked for once, and then granted to this user alone", async () => {
    const { url, redeem } = ask(CALENDARS);
    const first = await personAt(client).signIn(url, { user: "ada" });
    expect(first.pages.map(({ title }) => title)).toEqual(["Sign in", "Permissions requested"]);
    expect(first.pages[1]?.html).toContain("Read the own calendars");
    const { body } = await client.postToken({ ...redeem, code: first.answer.code });
    expect(decodeJws(String(body.access_token))?.payload.scp).toBe("Calendars.Read");
    expect((await personAt(client).signIn(ask(CALENDARS).url, { user: "ada" })).pages).toHaveLength(1);
    expect((await personAt(client).signIn(ask(CALENDARS).url, { user: "grace" })).pages).toHaveLength(2);
  });

  test("is granted to the whole tenant by an administrator who says so", async () => {
    await personAt(client).signIn(ask(CALENDARS).url, { user: "edsger", forOrganization: true });
    expect((await personAt(client).signIn(ask(CALENDARS).url, { user: "ada" })).pages).toHaveLength(1);
  });

  test("is not granted to the tenant by a user who only claims to be one", async () => {
    await personAt(client).signIn(ask(CALENDARS).url, { user: "ada", forOrganization: true });
    expect((await personAt(client).signIn(ask(CALENDARS).url, { user: "grace" })).pages).toHaveLength(2);
  });

  test("is not asked for silently: prompt=none is consent_required", async () => {
    const person = personAt(client);
    await person.signIn(ask(gatewayScope(client.emulator)).url, { user: "ada" });
    const { answer } = await person.open(ask(CALENDARS, { prompt: "none" }).url);
    expect(answer).toMatchObject({
      error: "consent_required",
      error_description: expect.stringMatching(/^AADSTS65001: /),
    });
  });

  test("is declined: access_denied, AADSTS65004, and the next sign-in asks again", async () => {
    const { answer } = await personAt(client).signIn(ask(CALENDARS).url, { user: "ada", consent: "cancel" });
    expect(answer).toMatchObject({
      error: "access_denied",
      error_subcode: "cancel",
      error_description: expect.stringMatching(/^AADSTS65004: /),
    });
    expect((await personAt(client).signIn(ask(CALENDARS).url, { user: "ada" })).pages).toHaveLength(2);
  });
});

describe("a permission that needs an administrator", () => {
  test("leads an ordinary user to a page that says so, and the client to AADSTS90095", async () => {
    const person = personAt(client);
    const { pages } = await person.signIn(ask(GROUPS).url, { user: "ada" });
    const page = pages.at(-1);
    expect(page?.title).toBe("Approval required");
    if (page === undefined) throw new Error("no page");
    const { answer } = await person.press(page, { consent: "leave" });
    expect(answer).toMatchObject({
      error: "access_denied",
      error_description: expect.stringMatching(/^AADSTS90095: /),
    });
  });

  test("is not granted by an ordinary user who forges the form", async () => {
    const person = personAt(client);
    const { pages } = await person.signIn(ask(GROUPS).url, { user: "ada" });
    const [page] = pages.slice(-1);
    if (page === undefined) throw new Error("no page");
    const { answer } = await person.press(page, { consent: "accept", organization: "true" });
    expect(answer.error_description).toMatch(/^AADSTS90094: /);
    expect((await personAt(client).signIn(ask(GROUPS).url, { user: "ada" })).pages.at(-1)?.title).toBe(
      "Approval required",
    );
  });

  test("lets another account go on in its place", async () => {
    const person = personAt(client);
    const { pages } = await person.signIn(ask(GROUPS).url, { user: "ada" });
    const [page] = pages.slice(-1);
    if (page === undefined) throw new Error("no page");
    const again = await person.press(page, { other: "true" });
    const [signIn] = again.pages;
    if (signIn === undefined) throw new Error("no page");
    const consent = await person.press(signIn, { user: "edsger" });
    expect(consent.pages[0]?.title).toBe("Permissions requested");
  });

  test("is every one where users may not consent", async () => {
    client.emulator.setUserConsent({ allowed: false });
    const { pages } = await personAt(client).signIn(ask(CALENDARS).url, { user: "ada" });
    expect(pages.at(-1)?.title).toBe("Approval required");
    client.emulator.setUserConsent({ allowed: true });
    expect((await personAt(client).signIn(ask(CALENDARS).url, { user: "ada" })).answer.code).toBeDefined();
  });

  test("prompt=consent needs one again, though everything is granted", async () => {
    client.emulator.setUserConsent({ allowed: false });
    const scope = gatewayScope(client.emulator);
    expect((await personAt(client).signIn(ask(scope).url, { user: "ada" })).answer.code).toBeDefined();
    const { pages } = await personAt(client).signIn(ask(scope, { prompt: "consent" }).url, { user: "ada" });
    expect(pages.at(-1)?.title).toBe("Approval required");
  });
});

describe("consent through the front end", () => {
  const lost = () => client.emulator.revokeConsent({ resource: "https://graph.microsoft.com" });
  const combined = () =>
    pageRequest(client.emulator, {
      scope: `api://${client.emulator.clientId}/.default openid`,
      prompt: "consent",
    });

  test("covers what the gateway needs behind it, so the exchange works again", async () => {
    lost();
    expect(aadsts(await client.exchange())).toBe(65001);
    const { pages, answer } = await personAt(client).signIn(combined().url, {
      user: "edsger",
      forOrganization: true,
    });
    expect(pages.at(-1)?.html).toContain("obo-gateway would like to");
    expect(answer.code).toBeDefined();
    expect(aadsts(await client.exchange())).toBe(0);
  });

  test("needs an administrator, because one of the gateway's permissions does", async () => {
    lost();
    const { pages } = await personAt(client).signIn(combined().url, { user: "ada" });
    expect(pages.at(-1)?.title).toBe("Approval required");
    expect(aadsts(await client.exchange())).toBe(65001);
  });
});

test("a consent that is repeated adds nothing to the directory", () => {
  const directory = createDirectory();
  const { publicClient, graph, users } = seedDirectory(directory, { graphOrigin: "https://x", tenants: [] });
  const asked = [{ application: publicClient, resource: graph, names: ["Calendars.Read", "Mail.Read"] }];
  const before = directory.grants.length;
  grantPermissions(asked, directory, users.ada, false);
  grantPermissions(asked, directory, users.ada, false);
  expect(directory.grants.length).toBe(before + 1);
  grantPermissions(asked, directory, users.edsger, true);
  grantPermissions(asked, directory, users.edsger, true);
  grantPermissions(asked, directory, users.grace, false);
  expect(directory.grants.length).toBe(before + 2);
});

describe("the administrator's page", () => {
  test("grants to the whole tenant what the registration lists, and tells the client", async () => {
    client.emulator.revokeConsent({});
    const url = adminConsent({
      client_id: client.emulator.clientId,
      scope: "https://graph.microsoft.com/.default",
      redirect_uri: "http://localhost:8080/consented",
      state: "s",
    });
    const { answer, pages } = await personAt(client).signIn(url, { user: "edsger" });
    expect(pages.at(-1)?.html).toContain("You consent on behalf of your organization.");
    expect(answer).toMatchObject({
      admin_consent: "True",
      tenant: client.emulator.tenantId,
      state: "s",
      scope: "https://graph.microsoft.com/.default",
    });
    expect(aadsts(await client.exchange())).toBe(0);
  });

  test("needs no address and no scope: the first registered one, and everything that is listed", async () => {
    client.emulator.revokeConsent({});
    const { location } = await personAt(client).signIn(
      adminConsent({ client_id: client.emulator.clientId }),
      {
        user: "edsger",
      },
    );
    expect(location?.href).toMatch(/^http:\/\/localhost\/consented\?admin_consent=True/);
    expect(aadsts(await client.exchange())).toBe(0);
    const orders = `api://${client.emulator.ordersApi.clientId}/orders.read`;
    expect(aadsts(await client.exchange({ scope: orders }))).toBe(0);
  });

  test("is of no use to an ordinary user", async () => {
    client.emulator.revokeConsent({});
    const person = personAt(client);
    const { pages } = await person.signIn(adminConsent({ client_id: client.emulator.clientId }), {
      user: "ada",
    });
    const [page] = pages.slice(-1);
    expect(page?.title).toBe("Approval required");
    if (page === undefined) throw new Error("no page");
    expect((await person.press(page, { consent: "accept" })).answer.error_description).toMatch(
      /^AADSTS90094: /,
    );
    expect(aadsts(await client.exchange())).toBe(65001);
  });
});
