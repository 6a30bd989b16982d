/** Cost of a token for one more call, by number of cached users: the gateway's exchange beside MSAL's own cache. */

import { createHash } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ConfidentialClientApplication, type INetworkModule } from "@azure/msal-node";
import type { TokenExchange } from "../../../src/exchange/contract.ts";
import { createTokenExchange } from "../../../src/exchange/exchange.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { median } from "../statistics.ts";

const HOST = "https://login.microsoftonline.com/";
const TENANT = "11111111-1111-4111-8111-111111111111";
const CLIENT = "33333333-3333-4333-8333-333333333333";
const SCOPES = Object.freeze(["https://graph.microsoft.com/.default"]);
const LIFE_SECONDS = 86_400;

const POPULATIONS = [100, 1_000, 10_000, 100_000, 1_000_000];
/** MSAL's cost grows with every user, and filling it with the square of that. */
const MSAL_POPULATIONS = [100, 1_000];
const ROUNDS = 9;
const MISSES = 1_000;

const FLATNESS_LIMIT = 1.3;
const BYTES_LIMIT = 4_096;
const MISS_LIMIT_MS = 1;

/** As long as genuine ones with a few roles and groups: 1.9 KB. */
const assertion = Buffer.alloc(1_900, "abcdefghij");

/** Written digit by digit: V8 remembers the texts of few numbers, which would make few users look cheaper. */
function assertionText(user: number): string {
  for (let rest = user, place = 11; place >= 0; place -= 1, rest = Math.floor(rest / 10))
    assertion[place] = 48 + (rest % 10);
  assertion[12] = 46;
  return assertion.toString("latin1");
}

/** Prints a table; resolves to whether every limit was kept. */
export async function benchExchange(): Promise<boolean> {
  const rows: Row[] = [];
  let bytesPerUser = Number.NaN;
  const contenders: Contender[] = [];
  for (const users of POPULATIONS) {
    // A million tokens of full length would need a larger heap than Node takes by itself; lookups do not see it.
    const before = heapUsed();
    const exchange = gatewayExchange(users, users > 100_000 ? 100 : 1_900);
    for (let user = 0; user < users; user += 1) await exchange.exchange(requestOf(user));
    if (users === 100_000) bytesPerUser = (heapUsed() - before) / users;
    contenders.push({ name: "gateway, hit", users, calls: 20_000, run: (user) => hit(exchange, user) });
  }
  for (const users of MSAL_POPULATIONS) {
    const shared = msalApplication();
    for (let user = 0; user < users; user += 1) await msalToken(shared, user);
    contenders.push({
      name: "one shared MSAL client, hit",
      users,
      calls: 40,
      run: (user) => msalToken(shared, user),
    });
  }
  heapUsed();
  rows.push(...(await measure(contenders)));
  const hundred = rows.find(({ users }) => users === 100)?.ms ?? Number.NaN;
  const million = rows.find(({ users }) => users === 1_000_000)?.ms ?? Number.NaN;

  const gateway = gatewayExchange(MISSES * 2, 1_900, "msal");
  const miss = await missCost((user) => gateway.exchange(requestOf(user)));
  rows.push({ name: "gateway, miss without network", users: 2 * MISSES, ms: miss });
  const perRequest = await missCost((user) => msalToken(msalApplication(), user));
  rows.push({ name: "an MSAL client per request, miss", users: 1, ms: perRequest });

  console.log(
    `exchange: one token, from the text of the assertion; CPU time, median of ${ROUNDS} rounds; ratio to a hit among 100 users\n`,
  );
  console.log(`${"".padEnd(36)}${"users".padStart(9)}${"µs/op".padStart(9)}${"ratio".padStart(9)}`);
  for (const { name, users, ms } of rows) {
    const numbers = [String(users), (ms * 1000).toFixed(1), (ms / hundred).toFixed(2)];
    console.log(name.padEnd(36) + numbers.map((text) => text.padStart(9)).join(""));
  }
  const limits = [
    { what: "hit among a million users, ratio to 100", value: million / hundred, limit: FLATNESS_LIMIT },
    { what: "heap per user with tokens of 1.9 KB, bytes", value: bytesPerUser, limit: BYTES_LIMIT },
    { what: "miss without network, ms", value: miss, limit: MISS_LIMIT_MS },
  ];
  console.log();
  for (const { what, value, limit } of limits) {
    console.log(`${what}: ${value.toFixed(2)} of ${limit}${value <= limit ? "" : "  over the limit"}`);
  }
  return limits.every(({ value, limit }) => value <= limit);
}

interface Contender {
  readonly name: string;
  readonly users: number;
  /** Calls in one round. */
  readonly calls: number;
  run(user: number): Promise<void>;
}

interface Row {
  readonly name: string;
  readonly users: number;
  readonly ms: number;
}

function requestOf(user: number) {
  const text = assertionText(user);
  const assertion = {
    token: new Secret(text),
    // Part of every call's price, for the gateway as for MSAL, which hashes the assertion too.
    digest: createHash("sha256").update(text).digest("base64url"),
    tenantId: TENANT,
    objectId: `00000000-0000-4000-8000-${text.slice(0, 12)}`,
    expiresAt: Date.now() + LIFE_SECONDS * 1000,
  };
  return { assertion, scopes: SCOPES, correlationId: "bench" };
}

async function hit(exchange: TokenExchange, user: number): Promise<void> {
  const { origin } = await exchange.exchange(requestOf(user));
  if (origin !== "cache") throw new Error(`not a hit: ${origin}`);
}

function grantText(length: number): string {
  return JSON.stringify({
    token_type: "Bearer",
    scope: SCOPES[0],
    expires_in: LIFE_SECONDS,
    ext_expires_in: LIFE_SECONDS,
    access_token: "t".repeat(length),
  });
}

function gatewayExchange(users: number, tokenLength: number, wire: "msal" | "none" = "none"): TokenExchange {
  const text = grantText(tokenLength);
  const options = {
    clientId: CLIENT,
    authorityHost: HOST,
    tokenEndpoint: (tenantId: string) => `${HOST}${tenantId}/oauth2/v2.0/token`,
    authorizeEndpoint: (tenantId: string) => `${HOST}${tenantId}/oauth2/v2.0/authorize`,
    homeTenantId: TENANT,
    allowedTenants: "*" as const,
    credential: {
      source: "client-secret" as const,
      authenticate: async () => ({ method: "client_secret" as const, clientSecret: new Secret("secret") }),
    },
    fetch: async () => new Response(text),
    timeoutMs: 10_000,
    cache: { maxEntries: users, maxBytes: 16 * 2 ** 30, expiryMarginMs: 0 },
    refusalMemoryMs: 3_000,
    budget: { total: 1_000, userShare: 0.125, clientShare: 1 },
  };
  if (wire === "msal") return createTokenExchange(options);
  // Filling by way of MSAL would take minutes; parsing makes each token a string of its own, as an answer does.
  const answer = { status: 200, headers: new Headers(), text };
  return createTokenExchange(options, async () => answer);
}

function msalApplication(): ConfidentialClientApplication {
  const networkClient: INetworkModule = {
    sendGetRequestAsync: () => Promise.reject(new Error("no discovery")),
    sendPostRequestAsync: async <T>(_url: string, options?: { body?: string }) => {
      const user = new URLSearchParams(options?.body).get("assertion")?.split(".")[0] ?? "";
      const clientInfo = Buffer.from(JSON.stringify({ uid: user, utid: TENANT })).toString("base64url");
      const body = { ...(JSON.parse(grantText(1_900)) as object), client_info: clientInfo };
      return { status: 200, headers: {}, body: body as T };
    },
  };
  return new ConfidentialClientApplication({
    auth: { clientId: CLIENT, authority: `${HOST}${TENANT}`, clientSecret: "secret" },
    system: { networkClient },
  });
}

async function msalToken(application: ConfidentialClientApplication, user: number): Promise<void> {
  await application.acquireTokenOnBehalfOf({ oboAssertion: assertionText(user), scopes: [...SCOPES] });
}

/** Contenders take turns in each round, so that a noisy moment of the machine hits all of them. */
async function measure(contenders: readonly Contender[]): Promise<Row[]> {
  const samples = contenders.map((): number[] => []);
  for (let round = -2; round < ROUNDS; round += 1) {
    for (const [index, { users, calls, run }] of contenders.entries()) {
      const first = (round + 2) * calls;
      const ms = await cpuOf(async () => {
        // A stride coprime to every population visits users in an order that no cache of the processor foresees.
        for (let n = first; n < first + calls; n += 1) await run((n * 7_919) % users);
      });
      // The first rounds warm up the compiler.
      if (round >= 0) samples[index]?.push(ms / calls);
    }
  }
  return contenders.map(({ name, users }, index) => ({ name, users, ms: median(samples[index] ?? []) }));
}

async function missCost(run: (user: number) => Promise<unknown>): Promise<number> {
  for (let user = 0; user < MISSES; user += 1) await run(user);
  const ms = await cpuOf(async () => {
    for (let user = MISSES; user < 2 * MISSES; user += 1) await run(user);
  });
  return ms / MISSES;
}

/** Processor time of all threads, ms. */
async function cpuOf(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Bytes in use, those of buffers included, after a full collection, which Node offers only to those who ask V8 for it. */
function heapUsed(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  const { heapUsed: objects, arrayBuffers } = process.memoryUsage();
  return objects + arrayBuffers;
}
