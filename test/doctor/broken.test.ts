/** Set-ups that are broken in one place: the doctor names the fault, and what corrects it. */

import { createServer, type Server } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { explain } from "../../src/doctor/aadsts.ts";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { ACTOR_OF, ConfigurationError } from "../../src/errors.ts";
import { aadstsEntry } from "../../src/exchange/entra/answers.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { startEmulator } from "../emulator/emulator.ts";
import { ERRORS } from "../emulator/entra/errors.ts";
import type { Emulator, ServiceAccountTokenOptions } from "../emulator/handle.ts";
import { freePort } from "../support/free-port.ts";
import { type Changes, createPatient, type Patient } from "./support.ts";

const HOUR_MS = 3_600_000;
const AUDIENCE = "api://AzureADTokenExchange";

let emulator: Emulator;
let patient: Patient;
let taken: Server;
let takenPort: string;
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  emulator = await startEmulator();
  patient = await createPatient(emulator);
  taken = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  takenPort = String((taken.address() as { port: number }).port);
});
afterEach(async () => {
  emulator.faults.clear();
  emulator.clearRefusals();
  for (const step of undo.splice(0)) await step();
});
afterAll(async () => {
  await new Promise((resolve) => taken.close(resolve));
  await patient.close();
  await emulator.close();
});

/** Breaks something, and returns the changes of the configuration that belong to it. */
type Break = () => Changes | Promise<Changes>;

interface Expected {
  readonly check: string;
  readonly outcome?: "fault" | "warning";
  readonly finding: RegExp;
  readonly fix: RegExp;
  readonly command?: RegExp;
}

const env = (changes: Record<string, string>): Changes => ({ env: changes });
const certificateOnly = (path: string, more: Record<string, string> = {}) =>
  env({ AZURE_FEDERATED_TOKEN_FILE: "", AZURE_CLIENT_CERTIFICATE_PATH: path, ...more });
const federated = async (options: ServiceAccountTokenOptions, more: Changes = {}): Promise<Changes> => ({
  ...more,
  env: {
    AZURE_FEDERATED_TOKEN_FILE: await patient.file(
      "token",
      emulator.kubernetes.issueServiceAccountToken(options),
    ),
  },
});
const refusing = (code: number): Changes => {
  emulator.refuse({ code, grant: "client-credentials" });
  return {};
};
const withToken = (token: string, more: Changes = {}): Changes => ({
  ...more,
  options: { userToken: new Secret(token) },
});

type Row = [name: string, break_: Break, expected: Expected];

const CONFIGURATION: Row[] = [
  [
    "tenant and client are not set",
    () => env({ AZURE_TENANT_ID: "", AZURE_CLIENT_ID: "" }),
    {
      check: "configuration",
      finding: /AZURE_TENANT_ID: is not set/,
      fix: /set AZURE_TENANT_ID in the environment/,
    },
  ],
  [
    "a key of the file is misspelt",
    () => ({ yaml: [["audiences:", "audience:"]] }),
    {
      check: "configuration",
      finding: /identity\.audience: .*did you mean "audiences"/,
      fix: /correct identity\.audience/,
    },
  ],
  [
    "the configuration file does not exist",
    () => env({ GATEWAY_CONFIG: "/nowhere/gateway.yaml" }),
    { check: "configuration", finding: /GATEWAY_CONFIG: cannot read/, fix: /set GATEWAY_CONFIG/ },
  ],
  [
    "a path pattern cannot mean anything",
    () => ({ yaml: [['allow: ["/me"]', 'allow: ["/me/../users"]']] }),
    {
      check: "configuration",
      finding: /routes\[0\]\.allow/,
      fix: /correct routes\[0\]\.allow/,
    },
  ],
  [
    "the audience is another application",
    () => ({
      yaml: [['["${AZURE_CLIENT_ID}", "api://${AZURE_CLIENT_ID}"]', '["https://graph.microsoft.com"]']],
    }),
    {
      check: "audiences",
      outcome: "warning",
      finding: /does not hold this gateway's client id/,
      fix: /add [0-9a-f-]{36} /,
    },
  ],
  [
    "Graph's links cannot lead back, since publicUrl is not set",
    () => ({
      ...env({ HOST: "0.0.0.0" }),
      yaml: [['baseUrl: "${GRAPH_URL}"', 'baseUrl: "${GRAPH_URL}"\n    kind: graph']],
    }),
    {
      check: "paging-links",
      outcome: "warning",
      finding: /@odata\.nextLink.* of \/graph/,
      fix: /set http\.publicUrl/,
    },
  ],
  [
    "the App ID URI is written in other letters",
    () => ({ yaml: [['"api://${AZURE_CLIENT_ID}"', '"API://${AZURE_CLIENT_ID}"']] }),
    { check: "audiences", finding: /in other letters/, fix: /lower case/, command: /az ad app show --id/ },
  ],
  [
    "users of a tenant may call for which no exchange is made",
    () => ({ yaml: [['tenants: ["${AZURE_TENANT_ID}"]', `tenants: ["${emulator.secondTenant.id}"]`]] }),
    {
      check: "tenants",
      finding: /may call .* exchanges are made for/,
      fix: /AZURE_ADDITIONALLY_ALLOWED_TENANTS=/,
    },
  ],
  [
    "the port is taken",
    () => env({ PORT: takenPort }),
    { check: "ports", finding: /PORT: port \d+ .* in use/, fix: /free the port/, command: /^ss / },
  ],
  [
    "both listeners have one port",
    async () => {
      const port = String(await freePort());
      return env({ PORT: port, ADMIN_PORT: port });
    },
    { check: "ports", finding: /ADMIN_PORT: port \d+ .* in use/, fix: /set another one/ },
  ],
];

const AUTHORITY: Row[] = [
  [
    "the authority has no listener",
    async () => env({ AZURE_AUTHORITY_HOST: `https://127.0.0.1:${await freePort()}/` }),
    {
      check: "discovery",
      finding: /the connection is refused/,
      fix: /check host and port/,
      command: /^curl -sv/,
    },
  ],
  [
    "the authority's name does not exist",
    () => env({ AZURE_AUTHORITY_HOST: "https://login.invalid/" }),
    { check: "discovery", finding: /name cannot be resolved/, fix: /DNS/ },
  ],
  [
    "the authority's certificate is of an unknown CA",
    () => {
      const wrong = emulator.faults.wrongCertificate("authority");
      undo.push(() => wrong.end());
      return {};
    },
    { check: "discovery", finding: /TLS certificate is not trusted/, fix: /NODE_EXTRA_CA_CERTS/ },
  ],
  [
    "a proxy answers in place of the authority",
    () => {
      emulator.faults.inject({ endpoint: "discovery", behaviour: { kind: "html", status: 200 } });
      return {};
    },
    { check: "discovery", finding: /no JSON object/, fix: /proxy/ },
  ],
  [
    "the tenant does not exist",
    () => env({ AZURE_TENANT_ID: "99999999-9999-4999-8999-999999999999" }),
    { check: "discovery", finding: /no such tenant/, fix: /AZURE_TENANT_ID/, command: /az account show/ },
  ],
  [
    "the metadata names another issuer",
    () => {
      const set = { issuer: "https://login.example/other/v2.0" };
      emulator.faults.inject({ endpoint: "discovery", behaviour: { kind: "patch", set } });
      return {};
    },
    {
      check: "discovery",
      finding: /another issuer .* found https:\/\/login\.example/,
      fix: /AZURE_AUTHORITY_HOST/,
    },
  ],
  [
    "the clock is ten minutes ahead",
    () => ({ options: { now: () => Date.now() + 600_000 } }),
    {
      check: "clock",
      finding: /clock is (599|60[01]) s ahead of Entra's/,
      fix: /NTP/,
      command: /timedatectl/,
    },
  ],
  [
    "the clock is half a minute behind",
    () => ({ options: { now: () => Date.now() - 30_000 } }),
    { check: "clock", outcome: "warning", finding: /clock is (29|30|31) s behind/, fix: /NTP/ },
  ],
  [
    "no signing key is published",
    () => {
      emulator.faults.inject({
        endpoint: "keys",
        behaviour: { kind: "json", status: 200, body: { keys: [] } },
      });
      return {};
    },
    { check: "signing-keys", finding: /publishes no RSA signing key/, fix: /cloud/ },
  ],
  [
    "the metadata points to keys elsewhere",
    () => {
      const set = { jwks_uri: "https://keys.example/keys" };
      emulator.faults.inject({ endpoint: "discovery", behaviour: { kind: "patch", set } });
      return {};
    },
    { check: "signing-keys", finding: /keys on another host/, fix: /proxy/ },
  ],
];

const CREDENTIAL: Row[] = [
  [
    "there is no credential",
    () => env({ AZURE_FEDERATED_TOKEN_FILE: "" }),
    { check: "credential", finding: /no credential is configured/, fix: /one way to prove itself/ },
  ],
  [
    "the token file does not exist",
    () => env({ AZURE_FEDERATED_TOKEN_FILE: "/nowhere/token" }),
    {
      check: "federated-token",
      finding: /\/nowhere\/token does not exist/,
      fix: /webhook/,
      command: /kubectl/,
    },
  ],
  [
    "the token file is half written",
    async () => {
      const token = emulator.kubernetes.issueServiceAccountToken();
      return env({ AZURE_FEDERATED_TOKEN_FILE: await patient.file("token", token.slice(0, -40)) });
    },
    { check: "federated-token", finding: /cut short/, fix: /webhook/ },
  ],
  [
    "the federated token has ended",
    () => federated({ claims: { exp: Math.floor(Date.now() / 1000) - 60 } }),
    { check: "federated-token", finding: /ended at/, fix: /webhook/ },
  ],
  [
    "the federated token is about to end without having been renewed",
    () => federated({ expirationSeconds: 120 }),
    { check: "federated-token", outcome: "warning", finding: /ends in 1\d\d s/, fix: /projected/ },
  ],
  [
    "the subject differs in letter case",
    () =>
      federated({}, { options: { expected: { subject: "system:serviceaccount:OBO-gateway:obo-gateway" } } }),
    {
      check: "federated-token",
      finding: /subject: they differ in letter case only/,
      fix: /byte for byte/,
      command: /az ad app federated-credential list/,
    },
  ],
  [
    "the issuer was registered without its trailing slash",
    () => federated({}, { options: { expected: { issuer: emulator.kubernetes.issuer.replace(/\/$/, "") } } }),
    {
      check: "federated-token",
      finding: /issuer: they differ in a trailing slash only/,
      fix: /no slash/,
      command: /federated-credential create .*issuer/,
    },
  ],
  [
    "the audience was registered with a blank",
    () => federated({}, { options: { expected: { audience: `${AUDIENCE} ` } } }),
    { check: "federated-token", finding: /audience: they differ in white space only/, fix: /byte for byte/ },
  ],
  [
    "the token is projected for another cloud",
    () => federated({ audience: `${AUDIENCE}USGov` }),
    { check: "federated-token", finding: /audience is .*USGov; in this cloud/, fix: /project the token/ },
  ],
  [
    "the token is projected for the Kubernetes API",
    () => federated({ audience: "https://kubernetes.default.svc" }),
    {
      check: "federated-token",
      outcome: "warning",
      finding: /kubernetes\.default\.svc/,
      fix: /project the token/,
    },
  ],
  [
    "the pod runs as another service account than Entra knows",
    () => federated({ serviceAccount: "default" }),
    {
      check: "token-request",
      finding: /AADSTS700213\): no federated credential .* subject/,
      fix: /copy the subject/,
      command: /"subject":"system:serviceaccount:obo-gateway:default"/,
    },
  ],
  [
    "the namespace differs in letter case from what Entra knows",
    () => federated({ namespace: "OBO-Gateway" }),
    { check: "token-request", finding: /AADSTS7002138\)/, fix: /exactly as it stands/ },
  ],
  [
    "Entra knows no credential with this audience",
    () => federated({ audience: "api://other" }),
    { check: "token-request", finding: /AADSTS700212\)/, fix: /one audience in both/ },
  ],
  [
    "Entra knows no credential of this cluster",
    () => federated({ claims: { iss: "https://other.example/" } }),
    {
      check: "token-request",
      finding: /AADSTS700211\)/,
      fix: /trailing slash included/,
      command: /https:\/\/other\.example\//,
    },
  ],
  [
    "the certificate file does not exist",
    () => certificateOnly("/nowhere/gateway.pem"),
    { check: "certificate", finding: /does not exist/, fix: /one readable file/ },
  ],
  [
    "the key belongs to another certificate",
    async () => {
      const [one, other] = [emulator.clientCertificate, await emulator.issueClientCertificate()];
      return certificateOnly(await patient.file("mixed.pem", one.privateKeyPem + other.certificatePem));
    },
    {
      check: "certificate",
      finding: /belongs to none of its certificates/,
      fix: /public keys are the same/,
      command: /openssl pkey/,
    },
  ],
  [
    "the certificate has ended",
    async () => {
      const { pem } = await emulator.issueClientCertificate({
        notAfter: Date.now() - HOUR_MS,
        notBefore: Date.now() - 2 * HOUR_MS,
      });
      return certificateOnly(await patient.file("ended.pem", pem));
    },
    {
      check: "certificate",
      finding: /ended at/,
      fix: /new certificate/,
      command: /az ad app credential reset .*--append --cert/,
    },
  ],
  [
    "the certificate is not valid yet",
    async () => {
      const { pem } = await emulator.issueClientCertificate({ notBefore: Date.now() + HOUR_MS });
      return certificateOnly(await patient.file("early.pem", pem));
    },
    { check: "certificate", finding: /not valid before/, fix: /new certificate/ },
  ],
  [
    "the certificate ends next week",
    async () => {
      const certificate = await emulator.issueClientCertificate({ notAfter: Date.now() + 7 * 24 * HOUR_MS });
      emulator.registerCertificate(emulator.clientId, certificate);
      return certificateOnly(await patient.file("soon.pem", certificate.pem));
    },
    {
      check: "certificate",
      outcome: "warning",
      finding: /ends in [67] days/,
      fix: /then replace the file/,
      command: /openssl req/,
    },
  ],
  [
    "everyone may read the key",
    async () => certificateOnly(await patient.file("open.pem", emulator.clientCertificate.pem, 0o644)),
    {
      check: "certificate",
      outcome: "warning",
      finding: /every user may read/,
      fix: /gateway's own user/,
      command: /chmod 600/,
    },
  ],
  [
    "the certificate is not the registered one",
    async () => {
      const { pem } = await emulator.issueClientCertificate();
      return certificateOnly(await patient.file("unregistered.pem", pem));
    },
    {
      check: "token-request",
      finding: /AADSTS700027\): the certificate is not registered/,
      fix: /compare the thumbprints/,
      command: /az ad app credential list/,
    },
  ],
  [
    "the client secret is wrong",
    () => env({ AZURE_FEDERATED_TOKEN_FILE: "", AZURE_CLIENT_SECRET: "s3cret-but-wrong" }),
    {
      check: "token-request",
      finding: /AADSTS7000215\): the client secret is wrong/,
      fix: /secret's value/,
    },
  ],
  [
    "a client secret serves production",
    () => {
      const secret = emulator.addClientSecret(emulator.clientId);
      return env({ AZURE_FEDERATED_TOKEN_FILE: "", AZURE_CLIENT_SECRET: secret, NODE_ENV: "production" });
    },
    {
      check: "client-secret",
      outcome: "warning",
      finding: /meant for development/,
      fix: /workload identity/,
    },
  ],
];

const ENTRA: Row[] = [
  [
    "the client id is not an application of the tenant",
    () => env({ AZURE_CLIENT_ID: "88888888-8888-4888-8888-888888888888" }),
    { check: "token-request", finding: /refuses the gateway/, fix: /AZURE_CLIENT_ID/ },
  ],
  [
    "the application is disabled",
    () => refusing(7000112),
    { check: "token-request", finding: /disabled/, fix: /enable/, command: /accountEnabled=true/ },
  ],
  [
    "Entra cannot reach the cluster's issuer",
    () => refusing(90061),
    {
      check: "token-request",
      finding: /AADSTS90061\): Entra cannot read/,
      fix: /OIDC issuer/,
      command: /az aks update/,
    },
  ],
  [
    "the scope's resource is unknown to the tenant",
    () => ({ yaml: [["https://graph.microsoft.com/.default", "api://unknown/.default"]] }),
    {
      check: "token-request",
      finding: /api:\/\/unknown \(AADSTS500011\)/,
      fix: /downstreamApis\.<name>\.scopes/,
      command: /az ad sp list/,
    },
  ],
  [
    "Entra is busy",
    () => {
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "text", status: 429 } });
      return {};
    },
    {
      check: "token-request",
      outcome: "warning",
      finding: /could not say \(status 429\)/,
      fix: /again in a minute/,
    },
  ],
  [
    "a proxy answers at the token endpoint",
    () => {
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "html", status: 403 } });
      return {};
    },
    { check: "token-request", finding: /is not Entra \(status 403, no JSON\)/, fix: /proxy/ },
  ],
  [
    "the token endpoint's connection is cut",
    () => {
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "reset", when: "before-headers" } });
      return {};
    },
    { check: "token-request", finding: /gives no answer: the connection is cut/, fix: /firewalls/ },
  ],
  [
    "Entra refuses with an unknown number",
    () => {
      const body = { error: "invalid_client", error_codes: [7999999], error_description: "s3cret of ada" };
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "json", status: 401, body } });
      return {};
    },
    {
      check: "token-request",
      finding: /AADSTS7999999\), for a reason this version does not know/,
      fix: /login\.microsoftonline\.com\/error/,
    },
  ],
];

const USER: Row[] = [
  [
    "the user's token is for Graph",
    () => withToken(emulator.mintUserToken({ audience: "00000003-0000-0000-c000-000000000000" })),
    {
      check: "user-token",
      finding: /refuses the token \(graph_token\)/,
      fix: /access_as_user/,
    },
  ],
  [
    "the user's token has ended",
    () => withToken(emulator.mintUserToken({ expiresInSeconds: -10 })),
    { check: "user-token", finding: /\(expired\)/, fix: /get a new token/ },
  ],
  [
    "the user's token is no token",
    () => withToken("not-a-token"),
    { check: "user-token", finding: /\(malformed\)/, fix: /whole access token/ },
  ],
  [
    "the user's token comes from a tenant that may not call",
    () => withToken(emulator.mintUserToken({ user: "linus" })),
    { check: "user-token", finding: /\(tenant\)/, fix: /identity\.tenants/ },
  ],
  [
    "the front end is not among the allowed clients",
    () =>
      withToken(emulator.mintUserToken(), {
        yaml: [["identity:", 'identity:\n  allowedClients: ["77777777-7777-4777-8777-777777777777"]']],
      }),
    { check: "user-token", finding: /\(client\)/, fix: /allowedClients/ },
  ],
  [
    "the front end asked for another scope than the routes need",
    () => withToken(emulator.mintUserToken({ scopes: ["other.read"], capabilities: ["cp1"] })),
    { check: "user-token", finding: /no route admits it: \/graph \(scope\)/, fix: /requiredScopes/ },
  ],
  [
    "the front end cannot take claims challenges",
    () => withToken(emulator.mintUserToken()),
    {
      check: "user-token",
      outcome: "warning",
      finding: /no xms_cc/,
      fix: /clientCapabilities/,
      command: /az rest --method PATCH .*optionalClaims/,
    },
  ],
  [
    "the registration issues tokens of version 1.0",
    () => withToken(emulator.mintUserToken({ version: "1.0", capabilities: ["cp1"] })),
    {
      check: "user-token",
      outcome: "warning",
      finding: /version 1\.0/,
      fix: /v2 tokens/,
      command: /"requestedAccessTokenVersion":2/,
    },
  ],
  [
    "the user has to sign in more strongly",
    () => {
      const requirement = emulator.requireMfa("ada");
      undo.push(() => requirement.remove());
      return withToken(emulator.mintUserToken({ capabilities: ["cp1"] }));
    },
    {
      check: "exchange",
      outcome: "warning",
      finding: /sign in more strongly/,
      fix: /claims of the challenge/,
    },
  ],
  [
    "consent is missing",
    () => {
      emulator.refuse({ code: 65001, grant: "on-behalf-of" });
      return withToken(emulator.mintUserToken({ capabilities: ["cp1"] }));
    },
    {
      check: "exchange",
      finding: /AADSTS65001\): the gateway's delegated permissions lack consent/,
      fix: /consent for the tenant/,
      command: /az ad app permission admin-consent/,
    },
  ],
];

const DOWNSTREAM: Row[] = [
  [
    "an API's name does not exist",
    () => env({ GRAPH_URL: "https://graph.invalid/v1.0" }),
    { check: "downstream", finding: /name cannot be resolved/, fix: /DNS/ },
  ],
  [
    "an API has no listener",
    async () => env({ GRAPH_URL: `https://127.0.0.1:${await freePort()}/v1.0` }),
    { check: "downstream", finding: /the connection is refused/, fix: /host and port/, command: /curl -sv/ },
  ],
  [
    "an API has a private address that its configuration does not allow",
    () => ({ yaml: [["allowPrivateNetwork: true", "allowPrivateNetwork: false"]] }),
    { check: "downstream", finding: /localhost has a private address/, fix: /allowPrivateNetwork: true/ },
  ],
  [
    "an API's certificate is of an unknown CA",
    () => {
      const wrong = emulator.faults.wrongCertificate("graph");
      undo.push(() => wrong.end());
      return {};
    },
    { check: "downstream", finding: /TLS certificate is not trusted/, fix: /NODE_EXTRA_CA_CERTS/ },
  ],
  [
    "an API answers with an error to everybody",
    () => {
      emulator.faults.inject({ endpoint: "graph", behaviour: { kind: "html", status: 503 } });
      return {};
    },
    { check: "downstream", outcome: "warning", finding: /status 503/, fix: /look at that API/ },
  ],
];

test("a file of settings that cannot be read is a finding like another", async () => {
  const report = await diagnose(() => {
    throw new ConfigurationError([{ path: ".env", problem: "cannot be read (EACCES)" }]);
  });
  expect(report).toMatchObject({
    works: false,
    configured: false,
    verdicts: [
      {
        check: "configuration",
        outcome: "fault",
        finding: ".env: cannot be read (EACCES)",
        fix: expect.stringMatching(/^make \.env a file that this user may read/),
      },
    ],
  });
});

describe.each<[string, Row[]]>([
  ["configuration", CONFIGURATION],
  ["authority", AUTHORITY],
  ["credential", CREDENTIAL],
  ["Entra's answer", ENTRA],
  ["user's token", USER],
  ["downstream API", DOWNSTREAM],
])("%s", (_, rows) => {
  test.each(rows)("%s", async (_name, break_, { check, outcome = "fault", finding, fix, command }) => {
    const report = await patient.diagnose(await break_());
    const verdict = report.verdicts.find(
      (one) => one.check === check && one.outcome === outcome && finding.test(one.finding),
    );
    expect({ verdict, otherwise: report.text }).toMatchObject({
      verdict: { fix: expect.stringMatching(fix) },
    });
    if (command !== undefined) expect(verdict?.commands?.join("\n")).toMatch(command);
    const works = report.verdicts.every((one) => one.outcome !== "fault");
    expect(report.works).toBe(works);
    if (outcome === "fault") expect(report.works).toBe(false);
  });
});

/** Numbers of the authorize endpoint and of what redeems its codes: a gateway's own requests never meet them. */
const OF_SIGN_IN: ReadonlySet<number> = new Set([
  50011, 50148, 50149, 54005, 70007, 500112, 500113, 500121, 501481, 501491, 650053, 700054, 9002325, 9002326,
  9002327, 9010010,
]);

test("every number of Entra's with which an operator has to do something is explained", () => {
  const situation = {
    registration: { clientId: emulator.clientId, tenantId: emulator.tenantId, cloud: "public" },
    resource: "https://graph.microsoft.com",
  } as const;
  const unexplained = Object.keys(ERRORS)
    .map(Number)
    .filter((number) => !OF_SIGN_IN.has(number))
    .filter((number) => {
      const entry = aadstsEntry([number]);
      return entry === undefined || ACTOR_OF[entry.code] === "operator";
    })
    .filter((number) => explain([number], situation) === undefined);
  expect(unexplained).toEqual([]);
});

test("a claim of the token is quoted, so that no command can be made to do something else", () => {
  const explained = explain([700213], {
    registration: { clientId: emulator.clientId, tenantId: emulator.tenantId, cloud: "public" },
    resource: "https://graph.microsoft.com",
    identity: { issuer: "https://x/';id;'", subject: "$(id)", audience: AUDIENCE },
  });
  expect(explained?.commands.at(-1)).toContain(`"issuer":"https://x/'\\'';id;'\\''"`);
});

test("the names of a configuration's checks can be left out", async () => {
  const report = await patient.diagnose({ env: { PORT: takenPort }, options: { skip: ["ports"] } });
  expect(report.works).toBe(true);
});

test("a check that fails itself is a fault, shows nothing of its error, and does not keep the others from running", async () => {
  const failing = () => Promise.reject(new Error("s3cret")) as Promise<Response>;
  const now = () => {
    throw new RangeError("s3cret");
  };
  const report = await patient.diagnose({ options: { fetch: failing, now } });
  expect(report.works).toBe(false);
  expect(report.text).toMatch(/the check itself failed \(RangeError\)/);
  expect(report.of("downstream").outcome).toBe("ok");
});
