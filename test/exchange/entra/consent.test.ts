import { expect, test } from "@jest/globals";
import { type ConsentOptions, createConsentUris } from "../../../src/exchange/entra/consent.ts";

const uris = (consent?: Omit<ConsentOptions, "appIdUri">, appIdUri = "api://gateway") =>
  createConsentUris({
    clientId: "gateway",
    authorityHost: "https://login.example/",
    authorizeEndpoint: (tenantId) => `https://login.example/${tenantId}/oauth2/v2.0/authorize`,
    ...(consent !== undefined && { consent: { appIdUri, ...consent } }),
  });
const SCOPES = ["https://graph.example/a", "https://graph.example/b"];
const parts = (uri: string) => {
  const { origin, pathname, searchParams } = new URL(uri);
  return { address: origin + pathname, ...Object.fromEntries(searchParams) };
};

test("a user consents to the scopes of the API at the gateway's own sign-in", () => {
  expect(parts(uris().consentUri("t", SCOPES))).toEqual({
    address: "https://login.example/t/oauth2/v2.0/authorize",
    client_id: "gateway",
    response_type: "code",
    scope: SCOPES.join(" "),
    prompt: "consent",
  });
});

test("a user consents to front end and gateway at once where the front end is named", () => {
  expect(
    parts(uris({ frontEndClientId: "spa", redirectUri: "https://spa.example/" }).consentUri("t", SCOPES)),
  ).toEqual({
    address: "https://login.example/t/oauth2/v2.0/authorize",
    client_id: "spa",
    response_type: "code",
    scope: "api://gateway/.default",
    prompt: "consent",
    redirect_uri: "https://spa.example/",
  });
  const named = uris({ frontEndClientId: "spa" }, "https://gateway.example");
  expect(parts(named.consentUri("t", SCOPES))).toMatchObject({ scope: "https://gateway.example/.default" });
});

test("an administrator consents to the gateway's own permissions, whichever front end was used", () => {
  expect(parts(uris({ frontEndClientId: "spa" }).adminConsentUri("t", SCOPES))).toEqual({
    address: "https://login.example/t/v2.0/adminconsent",
    client_id: "gateway",
    scope: SCOPES.join(" "),
  });
  expect(parts(uris({ redirectUri: "https://spa.example/" }).adminConsentUri("t", SCOPES))).toMatchObject({
    redirect_uri: "https://spa.example/",
  });
});
