import { describe, expect, test } from "@jest/globals";
import { ConfigurationError } from "../../src/errors.ts";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { Authority } from "../../src/identity/contract.ts";

const TENANT = "11111111-aaaa-4aaa-8aaa-111111111111";

describe("an authority host", () => {
  test.each([
    [
      "https://login.microsoftonline.com/",
      "public",
      "login.microsoftonline.com",
      "api://AzureADTokenExchange",
    ],
    ["https://login.windows.net", "public", "login.microsoftonline.com", "api://AzureADTokenExchange"],
    ["https://login.microsoft.com/", "public", "login.microsoftonline.com", "api://AzureADTokenExchange"],
    ["https://sts.windows.net/", "public", "login.microsoftonline.com", "api://AzureADTokenExchange"],
    [
      "https://login.microsoftonline.us",
      "us-government",
      "login.microsoftonline.us",
      "api://AzureADTokenExchangeUSGov",
    ],
    [
      "https://login.usgovcloudapi.net/",
      "us-government",
      "login.microsoftonline.us",
      "api://AzureADTokenExchangeUSGov",
    ],
    [
      "https://login.partner.microsoftonline.cn/",
      "china",
      "login.partner.microsoftonline.cn",
      "api://AzureADTokenExchangeChina",
    ],
    [
      "https://login.chinacloudapi.cn",
      "china",
      "login.partner.microsoftonline.cn",
      "api://AzureADTokenExchangeChina",
    ],
    [
      "https://login.sovcloud-identity.fr/",
      "france",
      "login.sovcloud-identity.fr",
      "api://AzureADTokenExchangeFrance",
    ],
    [
      "https://login.sovcloud-identity.de/",
      "germany",
      "login.sovcloud-identity.de",
      "api://AzureADTokenExchangeGermany",
    ],
    [
      "https://login.sovcloud-identity.sg/",
      "singapore",
      "login.sovcloud-identity.sg",
      "api://AzureADTokenExchangeGovSG",
    ],
    ["https://localhost:8443/", "private", "localhost:8443", "api://AzureADTokenExchange"],
    ["https://entra.example.test", "private", "entra.example.test", "api://AzureADTokenExchange"],
  ])("%s is %s at %s, with audience %s", (host, cloud, preferred, audience) => {
    const authority = resolveAuthority(host);
    expect(authority.cloud).toBe(cloud);
    expect(authority.host).toBe(preferred);
    expect(authority.origin).toBe(`https://${preferred}`);
    expect(authority.federatedCredentialAudience).toBe(audience);
  });

  test.each([
    "login.microsoftonline.com",
    "https://login.microsoftonline.com",
    "https://LOGIN.MicrosoftOnline.com//",
    " https://login.microsoftonline.com:443/ ",
    " login.microsoftonline.com\n",
  ])("%j is spelled differently and means the same", (host) => {
    expect(resolveAuthority(host).origin).toBe("https://login.microsoftonline.com");
  });

  test.each([
    "http://login.microsoftonline.com/",
    "ftp://login.microsoftonline.com/",
    "https://login.microsoftonline.com/contoso.example",
    "https://login.microsoftonline.com/?tenant=x",
    "https://login.microsoftonline.com/#x",
    "https://user:password@login.microsoftonline.com/",
    "https://",
    "",
    "https://login microsoftonline com",
  ])("%j is refused with the setting's name and without its value", (host) => {
    try {
      resolveAuthority(host);
      throw new Error("was accepted");
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigurationError);
      const [fault] = (error as ConfigurationError).faults;
      expect(fault?.path).toBe("AZURE_AUTHORITY_HOST");
      expect(fault?.problem).not.toContain("password");
    }
  });
});

test.each([
  ["login.windows.net", "microsoftonline.com"],
  ["login.microsoftonline.us", "microsoftonline.us"],
  ["login.chinacloudapi.cn", "partner.microsoftonline.cn"],
  ["login.sovcloud-identity.fr", undefined],
  ["login.example", undefined],
  ["contoso.ciamlogin.com", undefined],
])("keys of the cloud at %s bear the name %s where its documents state none", (host, name) => {
  expect(resolveAuthority(host).cloudInstanceName).toBe(name);
});

describe("addresses and issuers", () => {
  test("version 2.0 lives below the host", () => {
    const authority = resolveAuthority("https://localhost:8443/");
    expect(authority.metadataUrl(TENANT, "2.0")).toBe(
      `https://localhost:8443/${TENANT}/v2.0/.well-known/openid-configuration`,
    );
    expect(authority.issuer(TENANT, "2.0")).toBe(`https://localhost:8443/${TENANT}/v2.0`);
    expect(authority.tokenEndpoint(TENANT)).toBe(`https://localhost:8443/${TENANT}/oauth2/v2.0/token`);
    expect(authority.authorizeEndpoint("common")).toBe("https://localhost:8443/common/oauth2/v2.0/authorize");
  });

  test.each([
    ["login.microsoftonline.com", `https://sts.windows.net/${TENANT}/`],
    ["login.microsoftonline.us", `https://sts.windows.net/${TENANT}/`],
    ["login.chinacloudapi.cn", `https://sts.chinacloudapi.cn/${TENANT}/`],
    ["localhost:8443", `https://sts.windows.net/${TENANT}/`],
  ])("version 1.0 tokens of %s are issued by %s", (host, issuer) => {
    expect(resolveAuthority(host).issuer(TENANT, "1.0")).toBe(issuer);
    expect(resolveAuthority(host).metadataUrl(TENANT, "1.0")).toMatch(
      new RegExp(`/${TENANT}/\\.well-known/openid-configuration$`),
    );
  });

  test("version 2.0 tokens of a known cloud have one issuer, and those of another host may come from External ID", () => {
    expect(resolveAuthority("login.microsoftonline.com").issuers(TENANT, "2.0")).toEqual([
      `https://login.microsoftonline.com/${TENANT}/v2.0`,
    ]);
    expect(resolveAuthority("login.example").issuers(TENANT, "2.0")).toEqual([
      `https://login.example/${TENANT}/v2.0`,
      `https://${TENANT}.ciamlogin.com/${TENANT}/v2.0`,
    ]);
    expect(resolveAuthority("contoso.ciamlogin.com").issuers(TENANT, "2.0")).toEqual([
      `https://${TENANT}.ciamlogin.com/${TENANT}/v2.0`,
    ]);
  });

  test("the template of multi-tenant documents is an issuer like any other", () => {
    expect(resolveAuthority("login.microsoftonline.com").issuer("{tenantid}", "2.0")).toBe(
      "https://login.microsoftonline.com/{tenantid}/v2.0",
    );
  });
});

describe("what a document states", () => {
  const HOME_TENANT = "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01";
  const external = (path: string) => `https://${HOME_TENANT}.ciamlogin.com/${HOME_TENANT}${path}`;
  const stated = {
    issuer: external("/v2.0"),
    tokenEndpoint: external("/token"),
    authorizeEndpoint: external("/authorize"),
  } as Parameters<Authority["learn"]>[2];

  test("is believed of hosts whose documents are not known, within the tenant", () => {
    const authority = resolveAuthority("https://contoso.ciamlogin.com");
    const before = [authority.tokenEndpoint(HOME_TENANT), authority.authorizeEndpoint(HOME_TENANT)];
    expect(before).toEqual([
      `https://contoso.ciamlogin.com/${HOME_TENANT}/oauth2/v2.0/token`,
      `https://contoso.ciamlogin.com/${HOME_TENANT}/oauth2/v2.0/authorize`,
    ]);
    authority.learn(HOME_TENANT, "2.0", stated);
    expect(authority.tokenEndpoint(HOME_TENANT)).toBe(stated.tokenEndpoint);
    expect(authority.authorizeEndpoint(HOME_TENANT)).toBe(stated.authorizeEndpoint);
    expect(authority.issuer(HOME_TENANT, "2.0")).toBe(stated.issuer);
  });

  test("is not believed of an endpoint elsewhere, nor of another issuer", () => {
    const authority = resolveAuthority("https://contoso.ciamlogin.com");
    authority.learn(HOME_TENANT, "2.0", { ...stated, tokenEndpoint: "https://evil.example/token" });
    expect(authority.tokenEndpoint(HOME_TENANT)).toBe(
      `https://contoso.ciamlogin.com/${HOME_TENANT}/oauth2/v2.0/token`,
    );
    const other = resolveAuthority("https://contoso.ciamlogin.com");
    other.learn(HOME_TENANT, "2.0", { ...stated, issuer: "https://evil.example" });
    expect(other.authorizeEndpoint(HOME_TENANT)).toBe(
      `https://contoso.ciamlogin.com/${HOME_TENANT}/oauth2/v2.0/authorize`,
    );
  });

  test("is not believed of the known clouds", () => {
    const authority = resolveAuthority("https://login.microsoftonline.com");
    const own = `https://login.microsoftonline.com/${HOME_TENANT}`;
    authority.learn(HOME_TENANT, "2.0", {
      ...stated,
      issuer: `${own}/v2.0`,
      tokenEndpoint: `${own}/elsewhere`,
    });
    expect(authority.tokenEndpoint(HOME_TENANT)).toBe(`${own}/oauth2/v2.0/token`);
    expect(authority.isTrusted(external("/keys"), HOME_TENANT)).toBe(false);
    expect(authority.isTrusted(`${own}/keys`, HOME_TENANT)).toBe(true);
  });

  test.each([
    ["https://user@contoso.ciamlogin.com/keys"],
    ["https://:password@contoso.ciamlogin.com/keys"],
    ["https://contoso.ciamlogin.com.evil.example/keys"],
    ["http://contoso.ciamlogin.com/keys"],
    ["keys"],
  ])("is no address to trust: %s", (url) => {
    expect(resolveAuthority("https://contoso.ciamlogin.com").isTrusted(url, HOME_TENANT)).toBe(false);
  });

  test.each([
    ["https://user@login.example", "must not hold user information"],
    ["https://:password@login.example", "must not hold user information"],
    ["http://login.example", "must be an https URL"],
    ["https://login.example/tenant", /^must be a host alone/],
    ["https://login.example?x", /^must be a host alone/],
    ["https://login.example#x", /^must be a host alone/],
  ])("the setting %s is a fault", (host, problem) => {
    expect(() => resolveAuthority(host)).toThrow(
      expect.objectContaining({
        faults: [
          {
            path: "AZURE_AUTHORITY_HOST",
            problem: typeof problem === "string" ? problem : expect.stringMatching(problem),
          },
        ],
      }),
    );
  });
});
