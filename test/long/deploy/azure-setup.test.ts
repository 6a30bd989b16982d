/** docker/setup/azure.sh against a stub of the Azure CLI that keeps a tenant and records every call. */

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

const SCRIPT = "docker/setup/azure.sh";
const FRONT_END = "bbbbbbbb-0000-4000-8000-000000000001";
const ISSUER = "https://westeurope.oic.prod-aks.azure.com/tenant/cluster/";
const SUBJECT = "system:serviceaccount:obo-gateway:obo-gateway";
const CLUSTER = ["--cluster", "k8s", "--resource-group", "rg"];
const READS = ["show", "list", "list-grants", "GET"];

interface Credential {
  name: string;
  issuer: string;
  subject: string;
  audiences: string[];
}
interface Application {
  appId: string;
  displayName: string;
  identifierUris?: string[];
  api: {
    requestedAccessTokenVersion: number | null;
    oauth2PermissionScopes?: { id: string; value: string }[];
    preAuthorizedApplications?: { appId: string; delegatedPermissionIds: string[] }[];
    knownClientApplications?: string[];
  };
  optionalClaims?: { accessToken: { name: string }[]; idToken?: { name: string }[] };
  requiredResourceAccess?: { resourceAppId: string; resourceAccess: { id: string; type?: string }[] }[];
  isFallbackPublicClient?: boolean;
  publicClient?: { redirectUris: string[] };
  federated?: Credential[];
}

const TENANT = {
  signedIn: true,
  tenantId: "22222222-2222-4222-8222-222222222222",
  cloud: "AzureCloud",
  applications: [] as Application[],
  principals: [] as string[],
  graphPermissions: {
    "User.Read": "e1fe6dd8-ba31-4d61-89e7-88639da4683d",
    "User.Read.All": "a154be20-db9c-4678-8ab7-66f6cc099a59",
    "Mail.Read": "570282fd-fa5c-430d-a7fd-fc8dc98a9dca",
    "Mail.ReadBasic": "a4b8392a-d8d1-4954-a029-8e668a39a170",
    "Files.Read": "10465720-29dd-4523-a11a-6a75c743c9d9",
  },
  grants: [] as string[],
  mayConsent: true,
  notYet: 0,
  cluster: { enabled: false, issuer: ISSUER },
  redis: { name: "cache", group: "rg", assignments: [] as { name: string; objectId: string }[] },
};

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "az-"));
  const az = join(directory, "az");
  writeFileSync(az, `#!/bin/sh\nexec "${process.execPath}" "${resolve("test/deploy/az-stub.mjs")}" "$@"\n`);
  chmodSync(az, 0o755);
  reset();
});
afterEach(() => rmSync(directory, { recursive: true }));

function reset(changes: Partial<typeof TENANT> = {}): void {
  writeFileSync(join(directory, "state.json"), JSON.stringify({ ...TENANT, ...changes }));
  writeFileSync(join(directory, "log"), "");
}

const state = (): typeof TENANT => JSON.parse(readFileSync(join(directory, "state.json"), "utf8"));
const application = (): Application => {
  const [first, ...others] = state().applications;
  if (first === undefined || others.length > 0) throw new Error(`${others.length + 1} applications, or none`);
  return first;
};

function run(...args: string[]) {
  writeFileSync(join(directory, "log"), "");
  const { status, stdout, stderr } = spawnSync("bash", [SCRIPT, ...args], {
    encoding: "utf8",
    env: {
      PATH: `${directory}${delimiter}${process.env.PATH ?? ""}`,
      HOME: directory,
      AZ_STATE: join(directory, "state.json"),
      AZ_LOG: join(directory, "log"),
      AZURE_SETUP_PAUSE_SECONDS: "0",
    },
  });
  const calls = readFileSync(join(directory, "log"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as string[]);
  const changes = calls.filter((call) => !call.some((word) => READS.includes(word)));
  return { status, stdout, stderr, changes: changes.map((call) => call.slice(0, 4).join(" ")) };
}

describe("an empty tenant", () => {
  test("gets application, principal, scope, permission, consent, cluster flags and credential, in that order", () => {
    const { status, stderr, stdout, changes } = run("--client", FRONT_END, ...CLUSTER);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(changes.map((call) => call.replace(/ --.*/, ""))).toEqual([
      "ad app create",
      "ad sp create",
      "rest",
      "rest",
      "ad app permission admin-consent",
      "aks update",
      "ad app federated-credential create",
    ]);
    const { appId, api, ...rest } = application();
    const [scope] = api.oauth2PermissionScopes ?? [];
    expect(scope).toMatchObject({ value: "access_as_user", type: "User", isEnabled: true });
    expect(api).toMatchObject({
      requestedAccessTokenVersion: 2,
      knownClientApplications: [FRONT_END],
      preAuthorizedApplications: [{ appId: FRONT_END, delegatedPermissionIds: [scope?.id] }],
    });
    expect(rest).toMatchObject({
      identifierUris: [`api://${appId}`],
      optionalClaims: { accessToken: [{ name: "xms_cc" }] },
      requiredResourceAccess: [
        {
          resourceAccess: (["User.Read", "User.Read.All", "Mail.ReadBasic", "Files.Read"] as const).map(
            (name) => ({
              id: TENANT.graphPermissions[name],
              type: "Scope",
            }),
          ),
        },
      ],
      federated: [
        {
          name: "aks-k8s-obo-gateway-obo-gateway",
          issuer: ISSUER,
          subject: SUBJECT,
          audiences: ["api://AzureADTokenExchange"],
        },
      ],
    });
    expect(stdout).toContain(`AZURE_CLIENT_ID=${appId}\n`);
  });

  test("stays empty in a dry run, which shows each command", () => {
    const { status, stderr, changes } = run("--dry-run", "--client", FRONT_END, ...CLUSTER);
    expect({ status, changes, state: state() }).toEqual({ status: 0, changes: [], state: TENANT });
    for (const command of [
      "ad app create",
      "ad sp create",
      "rest --method PATCH",
      "ad app permission admin-consent",
      "aks update",
      "federated-credential create",
    ])
      expect(stderr).toMatch(new RegExp(`would run: az .*${command}`));
  });

  test("is set up without a cluster where none is named", () => {
    const { status, changes } = run();
    expect(status).toBe(0);
    expect(changes.join()).not.toMatch(/aks|federated/);
  });

  test("may take a moment to show what has just been made", () => {
    reset({ notYet: 2 });
    const { status, changes } = run();
    expect(status).toBe(0);
    expect(changes.filter((call) => call.startsWith("ad sp create"))).toHaveLength(3);
  });
});

describe("a second run", () => {
  const args = ["--client", FRONT_END, "--permission", "User.Read", "--permission", "Mail.Read", ...CLUSTER];

  let settled: typeof TENANT | undefined;
  /** The tenant as a first run left it; one first run serves all tests. */
  function afterFirstRun(): typeof TENANT {
    if (settled === undefined) {
      expect(run(...args).status).toBe(0);
      settled = state();
    }
    reset(settled);
    return structuredClone(settled);
  }

  test("changes nothing", () => {
    const before = afterFirstRun();
    const { status, stdout, changes } = run(...args);
    expect({ status, changes, state: state() }).toEqual({ status: 0, changes: [], state: before });
    expect(stdout).toContain("nothing to change");
  });

  test.each<[string, (application: Application) => void, string[]]>([
    [
      "a token version",
      ({ api }) => {
        api.requestedAccessTokenVersion = 1;
      },
      ["rest --method PATCH --url"],
    ],
    [
      "an optional claim",
      (one) => {
        one.optionalClaims = { accessToken: [] };
      },
      ["rest --method PATCH --url"],
    ],
    [
      "a pre-authorised client",
      ({ api }) => {
        api.preAuthorizedApplications = [];
      },
      ["rest --method PATCH --url"],
    ],
    [
      "the subject's letter case",
      ({ federated }) => {
        const [credential] = federated ?? [];
        if (credential) credential.subject = credential.subject.toUpperCase();
      },
      ["ad app federated-credential update"],
    ],
    [
      "the issuer's trailing slash",
      ({ federated }) => {
        const [credential] = federated ?? [];
        if (credential) credential.issuer = credential.issuer.replace(/\/$/, "");
      },
      ["ad app federated-credential update"],
    ],
  ])("mends %s, and only that", (_, break_, expected) => {
    const before = afterFirstRun();
    const broken = structuredClone(before);
    for (const one of broken.applications) break_(one);
    reset(broken);
    const { status, changes } = run(...args);
    expect({ status, changes, state: state() }).toEqual({ status: 0, changes: expected, state: before });
  });

  test("keeps what others added to the application", () => {
    const grown = afterFirstRun();
    for (const one of grown.applications) {
      one.identifierUris?.push("https://gateway.contoso.example");
      one.api.oauth2PermissionScopes?.push({
        id: "cccccccc-0000-4000-8000-000000000001",
        value: "other.read",
      });
      one.optionalClaims?.accessToken.push({ name: "ipaddr" });
      one.api.requestedAccessTokenVersion = null;
    }
    reset(grown);
    run(...args);
    expect(application().identifierUris).toContain("https://gateway.contoso.example");
    expect(application().api.oauth2PermissionScopes?.map(({ value }) => value)).toEqual([
      "access_as_user",
      "other.read",
    ]);
    expect(application().optionalClaims?.accessToken.map(({ name }) => name)).toEqual(["xms_cc", "ipaddr"]);
    expect(application().api).toMatchObject({
      requestedAccessTokenVersion: 2,
      knownClientApplications: [FRONT_END],
    });
  });
});

describe("a public client for MCP clients", () => {
  const both = () => {
    const [gateway, client, ...others] = state().applications;
    if (gateway === undefined || client === undefined || others.length > 0)
      throw new Error(`${state().applications.length} applications`);
    return { gateway, client };
  };

  test("is a registration of its own, pre-authorised and known to the gateway", () => {
    const { status, stderr, stdout } = run("--mcp", "--client", FRONT_END);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { gateway, client } = both();
    const [scope] = gateway.api.oauth2PermissionScopes ?? [];
    expect(client).toMatchObject({
      displayName: "obo-gateway-mcp",
      isFallbackPublicClient: true,
      publicClient: {
        redirectUris: ["http://localhost", "http://localhost/callback", "http://localhost/oauth/callback"],
      },
      requiredResourceAccess: [
        { resourceAppId: gateway.appId, resourceAccess: [{ id: scope?.id, type: "Scope" }] },
      ],
    });
    expect(client.appId).not.toBe(gateway.appId);
    expect(gateway.api.knownClientApplications).toEqual([FRONT_END, client.appId]);
    expect(gateway.api.preAuthorizedApplications).toContainEqual({
      appId: client.appId,
      delegatedPermissionIds: [scope?.id],
    });
    expect(stdout).toContain(`mcp.clientId: ${client.appId} `);
    expect(state().principals).toEqual([gateway.appId, client.appId]);
  });

  test("is not made without --mcp, nor in a dry run, which shows its commands", () => {
    expect(run().stdout).not.toContain("mcp");
    expect(state().applications).toHaveLength(1);
    reset();
    const { status, stderr, changes } = run("--mcp", "--dry-run");
    expect({ status, changes, state: state() }).toEqual({ status: 0, changes: [], state: TENANT });
    expect(stderr).toMatch(/would run: az ad app create --display-name obo-gateway-mcp/);
    expect(stderr).toMatch(/would run: az rest --method PATCH .*redirectUris/);
  });

  test("is left alone by a second run, keeps what others added, and gets back what is missing", () => {
    expect(run("--mcp").status).toBe(0);
    const settled = state();
    const again = run("--mcp");
    expect({ changes: again.changes, state: state() }).toEqual({ changes: [], state: settled });
    expect(again.stdout).toContain("nothing to change");
    const broken = structuredClone(settled);
    const [, client] = broken.applications;
    client?.publicClient?.redirectUris.splice(0, 1, "https://agent.example/callback");
    reset(broken);
    expect(run("--mcp").changes).toEqual(["rest --method PATCH --url"]);
    expect(both().client.publicClient?.redirectUris).toEqual([
      "https://agent.example/callback",
      "http://localhost/callback",
      "http://localhost/oauth/callback",
      "http://localhost",
    ]);
  });

  test("has the redirect URIs that are named", () => {
    const uris = ["http://127.0.0.1:33418", "cursor://anysphere.cursor-mcp/oauth/callback"];
    run("--mcp", ...uris.flatMap((uri) => ["--redirect-uri", uri]));
    expect(both().client.publicClient?.redirectUris).toEqual(uris);
  });

  test.each([
    [["--redirect-uri", "http://localhost"], /--redirect-uri goes with --mcp/],
    [["--mcp", "--redirect-uri", "http://localhost/*"], /is not a redirect URI/],
    [["--mcp", "--redirect-uri", "localhost"], /is not a redirect URI/],
  ])("%j is refused before anything is changed", (args, message) => {
    const { status, stderr, changes } = run(...args);
    expect({ status, changes }).toEqual({ status: 2, changes: [] });
    expect(stderr).toMatch(message);
  });
});

describe("a Redis that is named", () => {
  const REDIS = ["--redis", "cache", "--redis-resource-group", "rg"];

  test("gets an access policy for the gateway's service principal, once", () => {
    const { status, stderr, changes } = run(...REDIS);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(changes.at(-1)).toBe("redisenterprise database access-policy-assignment create");
    const objectId = application().appId.replace(/^.{8}/, "dddddddd");
    expect(state().redis.assignments).toEqual([{ name: "obogateway", objectId }]);
    const again = run(...REDIS);
    expect({ changes: again.changes, status: again.status }).toEqual({ changes: [], status: 0 });
  });

  test("in the cluster's resource group needs no other", () => {
    reset({ cluster: { ...TENANT.cluster }, redis: { ...TENANT.redis, group: "rg-of-k8s" } });
    const { status } = run("--cluster", "k8s", "--resource-group", "rg-of-k8s", "--redis", "cache");
    expect([status, state().redis.assignments.length]).toEqual([0, 1]);
  });

  test("is shown in a dry run, and not changed", () => {
    const { status, stderr } = run("--dry-run", ...REDIS);
    expect([status, state().redis.assignments]).toEqual([0, []]);
    expect(stderr).toMatch(/would run: az redisenterprise database access-policy-assignment create/);
  });
});

describe("what cannot be done is said", () => {
  test.each<[string, Partial<typeof TENANT>, string[], RegExp]>([
    ["nobody is signed in", { signedIn: false }, [], /sign in first: az login/],
    ["consent takes another role", { mayConsent: false }, [], /takes a privileged role.*--no-consent/],
    [
      "Graph has no such permission",
      {},
      ["--permission", "User.Reed"],
      /no delegated permission named User\.Reed/,
    ],
    [
      "two applications have the name",
      {
        applications: ["1", "2"].map((digit) => ({
          appId: `aaaaaaaa-0000-4000-8000-00000000000${digit}`,
          displayName: "obo-gateway",
          api: { requestedAccessTokenVersion: 2 },
        })),
      },
      [],
      /several applications are named obo-gateway/,
    ],
    ["a cluster without its group", {}, ["--cluster", "k8s"], /--cluster needs --resource-group/],
    ["a Redis without its group", {}, ["--redis", "cache"], /--redis needs --redis-resource-group/],
    [
      "a Redis that is not there",
      {},
      ["--redis", "other", "--redis-resource-group", "rg"],
      /access policies of other cannot be read/,
    ],
    ["an unknown option", {}, ["--dryrun"], /unknown option --dryrun/],
    ["an option without its value", {}, ["--name"], /--name needs a value/],
    ["a name that would end a query", {}, ["--name", "x' || 'y"], /--name: letters/],
  ])("%s", (_, changes, args, message) => {
    reset(changes);
    const { status, stderr } = run(...args);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  test("without the role, the rest is done and consent left out with --no-consent", () => {
    reset({ mayConsent: false });
    const { status, changes } = run("--no-consent", ...CLUSTER);
    expect(status).toBe(0);
    expect(changes.join()).not.toContain("consent");
  });
});

test.each([
  ["AzureUSGovernment", "api://AzureADTokenExchangeUSGov"],
  ["AzureChinaCloud", "api://AzureADTokenExchangeChina"],
])("%s has an audience of its own", (cloud, audience) => {
  reset({ cloud });
  run(...CLUSTER);
  expect(application().federated).toEqual([expect.objectContaining({ audiences: [audience] })]);
});
