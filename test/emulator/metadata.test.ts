import { X509Certificate } from "node:crypto";
import { request } from "node:https";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

const get = (path: string) => client.getJson(`${client.emulator.authorityHost}${path}`);
const DISCOVERY = "v2.0/.well-known/openid-configuration";

describe("discovery", () => {
  test("of a tenant names the emulator's own origin and may be cached for a day", async () => {
    const { authorityHost, tenantId } = client.emulator;
    const { headers, body } = await get(`${tenantId}/${DISCOVERY}`);
    expect(body).toMatchObject({
      issuer: `${authorityHost}${tenantId}/v2.0`,
      jwks_uri: `${authorityHost}${tenantId}/discovery/v2.0/keys`,
      token_endpoint: `${authorityHost}${tenantId}/oauth2/v2.0/token`,
      id_token_signing_alg_values_supported: ["RS256"],
      subject_types_supported: ["pairwise"],
    });
    expect(headers.get("cache-control")).toBe("max-age=86400, private");
  });

  test("takes the tenant in capitals and shows it in lower case", async () => {
    const { tenantId } = client.emulator;
    expect((await get(`${tenantId.toUpperCase()}/${DISCOVERY}`)).body.issuer).toContain(`/${tenantId}/`);
  });

  test.each(["common", "organizations"])(
    "of %s shows the issuer template with its braces",
    async (segment) => {
      const { body } = await get(`${segment}/${DISCOVERY}`);
      expect(body.issuer).toBe(`${client.emulator.authorityHost}{tenantid}/v2.0`);
      expect(body.tenant_region_scope).toBeNull();
    },
  );

  test("of version 1 names the other issuer", async () => {
    const { tenantId } = client.emulator;
    const { body } = await get(`${tenantId}/.well-known/openid-configuration`);
    expect(body.issuer).toBe(`https://sts.windows.net/${tenantId}/`);
  });

  test("of an unknown tenant is refused as invalid_tenant", async () => {
    const answer = await get(`00000000-0000-0000-0000-00000000dead/${DISCOVERY}`);
    expect([answer.status, answer.body.error, aadsts(answer)]).toEqual([400, "invalid_tenant", 90002]);
  });

  test("of the instance lists the hosts of this cloud", async () => {
    const { body } = await get(
      "common/discovery/instance?api-version=1.1&authorization_endpoint=https://x/common/oauth2/v2.0/authorize",
    );
    expect(body).toMatchObject({
      tenant_discovery_endpoint: expect.stringContaining("/common/v2.0/.well-known/openid-configuration"),
      "api-version": "1.1",
      metadata: [{ aliases: [new URL(client.emulator.authorityHost).host] }],
    });
  });

  test.each([
    ["login.microsoftonline.com", "https://login.microsoftonline.com/", "microsoftonline.com"],
    ["login.windows.net", "https://login.microsoftonline.com/", "microsoftonline.com"],
    ["login.microsoftonline.us", "https://login.microsoftonline.us/", "microsoftonline.us"],
    [
      "login.partner.microsoftonline.cn",
      "https://login.partner.microsoftonline.cn/",
      "partner.microsoftonline.cn",
    ],
  ])("under the host name %s is that cloud's", async (host, authority, cloud) => {
    const { tenantId } = client.emulator;
    const body = await getUnderName(host, `/${tenantId}/${DISCOVERY}`);
    expect(body).toMatchObject({ issuer: `${authority}${tenantId}/v2.0`, cloud_instance_name: cloud });
  });
});

describe("keys", () => {
  test("of a tenant are several, by x5t = kid, with issuer and one certificate, and without alg", async () => {
    const { authorityHost, tenantId } = client.emulator;
    const keys = keysOf((await get(`${tenantId}/discovery/v2.0/keys`)).body);
    expect(keys.length).toBeGreaterThan(1);
    for (const key of keys) {
      expect(key).toMatchObject({
        kty: "RSA",
        use: "sig",
        x5t: key.kid,
        issuer: `${authorityHost}${tenantId}/v2.0`,
      });
      expect(key).not.toHaveProperty("alg");
      const certificate = new X509Certificate(Buffer.from(String([key.x5c].flat()[0]), "base64"));
      const thumbprint = Buffer.from(certificate.fingerprint.replaceAll(":", ""), "hex").toString(
        "base64url",
      );
      expect(thumbprint).toBe(key.kid);
      expect(certificate.publicKey.export({ format: "jwk" }).n).toBe(key.n);
    }
  });

  test("of common are mixed: templates, the consumer accounts' issuer, and a key of another cloud", async () => {
    const keys = keysOf((await get("common/discovery/v2.0/keys")).body);
    const issuers = new Set(keys.map(({ issuer }) => issuer));
    expect(issuers).toEqual(
      new Set([
        `${client.emulator.authorityHost}{tenantid}/v2.0`,
        `${client.emulator.authorityHost}9188040d-6c67-4c5b-b112-36a304b66dad/v2.0`,
      ]),
    );
    expect(keys.map((key) => key.cloud_instance_name)).toContain("microsoftonline.us");
  });

  test("of version 1 are the same keys", async () => {
    const { tenantId } = client.emulator;
    const kids = async (path: string) => keysOf((await get(path)).body).map(({ kid }) => kid);
    expect(await kids(`${tenantId}/discovery/keys`)).toEqual(await kids(`${tenantId}/discovery/v2.0/keys`));
    expect(await kids("common/discovery/keys")).toEqual(await kids("common/discovery/v2.0/keys"));
  });

  test("change with a roll-over: a new one is shown, a retired one is not", async () => {
    const kids = async () =>
      keysOf((await get(`${client.emulator.tenantId}/discovery/v2.0/keys`)).body).map(({ kid }) => kid);
    const before = await kids();
    const { activeKid, previousKid } = await client.emulator.rollKeys();
    expect(before).toContain(activeKid);
    expect(await kids()).toHaveLength(before.length + 1);
    client.emulator.retireKey(previousKid);
    expect(await kids()).not.toContain(previousKid);
  });
});

test("requests for metadata are counted by kind", async () => {
  client.emulator.requests.clear();
  await get(`${client.emulator.tenantId}/${DISCOVERY}`);
  await get("common/discovery/keys");
  expect(client.emulator.requests.counts).toMatchObject({ discovery: 1, keys: 1, token: 0 });
});

function keysOf(body: Readonly<Record<string, unknown>>): Record<string, unknown>[] {
  return body.keys as Record<string, unknown>[];
}

/** To the emulator's port, but by a production name in Host header and TLS. */
function getUnderName(host: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const { ports, caCertificate } = client.emulator;
    const options = { host: "127.0.0.1", port: ports.authority, path, servername: host, ca: caCertificate };
    request({ ...options, headers: { host }, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => resolve(JSON.parse(text)));
    })
      .on("error", reject)
      .end();
  });
}
