/** What a gateway loads: a library costs memory and the time until readiness wherever it is loaded, used or not. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";

const directory = mkdtempSync(join(tmpdir(), "obo-loaded-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

// The debugger is told of each script, whichever way it was loaded.
const SCRIPT = `
  import { Session } from "node:inspector";
  const scripts = [];
  const session = new Session();
  session.connect();
  session.on("Debugger.scriptParsed", ({ params }) => scripts.push(params.url));
  session.post("Debugger.enable");
  const { createGateway } = await import("./src/gateway.ts");
  const { loadConfig } = await import("./src/config/load.ts");
  const gateway = await createGateway(loadConfig(process.env));
  await gateway.close();
  console.log("LOADED " + JSON.stringify(scripts));
  process.exit(0);
`;

/** Scripts of packages that a process has loaded when it has put a gateway together, as paths below node_modules. */
function loaded(
  env: Readonly<Record<string, string>> = {},
  verifier = "passport-azure-ad",
  settings = "",
): string[] {
  const file = join(directory, "gateway.yaml");
  writeFileSync(
    file,
    `
identity: { verifier: ${verifier}, tenants: ["*"], audiences: [api] }
exchange: { cache: { redis: { url: "\${REDIS_URL:-}" } } }
downstreamApis: { graph: { baseUrl: https://graph.microsoft.com/v1.0, scopes: [https://graph.microsoft.com/.default] } }
routes: [{ path: /graph, downstreamApi: graph, requiredScopes: [s], allow: ["/me"] }]
${settings}
`,
  );
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "--eval", SCRIPT],
    {
      encoding: "utf8",
      env: {
        PATH: process.env.PATH,
        GATEWAY_CONFIG: file,
        AZURE_TENANT_ID: "11111111-2222-4333-8444-555555555555",
        AZURE_CLIENT_ID: "11111111-2222-4333-8444-666666666666",
        AZURE_CLIENT_SECRET: "s",
        ...env,
      },
    },
  );
  const urls = /^LOADED (.*)$/m.exec(stdout)?.[1];
  if (urls === undefined) throw new Error(stderr);
  return (JSON.parse(urls) as string[])
    .filter((url) => url.includes("/node_modules/"))
    .map((url) => url.slice(url.lastIndexOf("/node_modules/") + "/node_modules/".length));
}

const of = (name: string) => (path: string) => path.startsWith(`${name}/`);

test.each([
  ["passport-azure-ad", "jose"],
  ["jose", "passport-azure-ad"],
])("with the verifier %s, %s is not loaded", (verifier, other) => {
  const paths = loaded({}, verifier);
  expect(paths.some(of(verifier))).toBe(true);
  expect(paths.filter(of(other))).toEqual([]);
});

test("without a Redis its client is not loaded, and MSAL is not waited for", () => {
  const paths = loaded();
  expect(paths.filter(of("ioredis"))).toEqual([]);
  expect(paths.filter(of("@azure"))).toEqual([]);

  const key = Buffer.alloc(32).toString("base64");
  const sharing = loaded({ REDIS_URL: "redis://127.0.0.1:9", TOKEN_CACHE_KEYS: key });
  expect(sharing.some(of("ioredis"))).toBe(true);
});

test("of undici and rate-limiter-flexible no part is loaded that the gateway does not use", () => {
  const paths = loaded();
  expect(paths).toContain("undici/lib/dispatcher/client.js");
  expect(paths.filter((path) => /^undici\/lib\/(?:web|mock|cache|interceptor)\//.test(path))).toEqual([]);
  expect(paths.filter(of("rate-limiter-flexible"))).toEqual([]);

  const limiting = loaded({}, undefined, "limits: { perUser: { requests: 1, perSeconds: 1 } }");
  expect(limiting).toContain("rate-limiter-flexible/lib/RateLimiterMemory.js");
  expect(limiting.filter((path) => /^rate-limiter-flexible.*(?:Mongo|SQL|Cluster)/.test(path))).toEqual([]);
});
