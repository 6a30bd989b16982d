/** Forward-auth and the gateway's own proxy decide alike, over generated routes, methods, paths and tokens. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../../emulator/emulator.ts";
import type { Emulator } from "../../emulator/handle.ts";
import { ask, bearer } from "../../local/support.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { type RecordingApi, startRecordingApi } from "../../support/recording-api.ts";

const SEED = Number(process.env.SEED ?? 20_261_127);
const GATEWAYS = 3;
const REQUESTS = 150;

const decisions = new Map<string, number>();
let emulator: Emulator;
let api: RecordingApi;
beforeAll(async () => {
  emulator = await startEmulator();
  api = await startRecordingApi();
});
afterAll(async () => {
  api.close();
  await emulator.close();
});

const SEGMENTS = ["me", "users", "a", "admin", "x%20y", "Me", "b.c"];
const ODD = [
  "..",
  ".",
  "",
  "%2e%2e",
  "a%2fb",
  "%61dmin",
  "a;b",
  "..;x",
  "a%",
  "%25",
  "ä",
  "a\\b",
  "~",
  "a'b",
  "%00",
  "*",
];
const METHODS = [
  "GET",
  "GET",
  "GET",
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "PATCH",
  "OPTIONS",
  "TRACE",
  "PROPFIND",
];
const SCOPES = ["access_as_user admin.read", "access_as_user", "admin.read", "other"];

interface GeneratedRoute {
  readonly path: string;
  readonly api: string;
  readonly allow: readonly string[];
  readonly methods: readonly string[];
}

/** Routes that lie beside and below each other, of three APIs, with policies of every kind. */
function generateRoutes(random: Random): {
  readonly routes: readonly GeneratedRoute[];
  readonly yaml: string;
} {
  const routes: GeneratedRoute[] = [];
  const lines: string[] = [];
  const taken = new Set<string>();
  while (routes.length < 6) {
    const depth = 1 + random.below(3);
    const path = Array.from({ length: depth }, () => `/${random.pick(["a", "b", "me", "admin"])}`).join("");
    if (taken.has(path)) continue;
    taken.add(path);
    const name = random.pick(["one", "two", "odata"]);
    const allow = random.pick([
      ["/**"],
      ["/me", "/me/**"],
      ["/*"],
      ["/users/*", "/a"],
      ["/"],
      ["/a/**", "/b.c"],
    ]);
    const methods = random.pick([
      ["GET"],
      ["GET", "POST"],
      ["GET"],
      ["POST", "PUT"],
      ["HEAD"],
      ["OPTIONS", "DELETE"],
    ]);
    routes.push({ path, api: name, allow, methods });
    lines.push(
      `  - path: ${path}`,
      `    downstreamApi: ${name}`,
      `    allow: ${JSON.stringify(allow)}`,
      `    methods: ${JSON.stringify(methods)}`,
      `    requiredScopes: ${JSON.stringify(random.pick([[], ["access_as_user"], ["admin.read", "other"]]))}`,
      ...(random.below(3) === 0 ? ["    authContext: c1"] : []),
      ...(random.below(6) === 0 ? [`    allowedClients: ["${emulator.publicClientId}"]`] : []),
      ...(random.below(5) === 0 && name !== "two"
        ? ["    as: app", '    requiredRoles: ["Reader"]', "    requireUser: false"]
        : []),
    );
  }
  const one = (name: string, more: string) =>
    `  ${name}: { baseUrl: "${api.url}", allowPrivateNetwork: true, ${more} }`;
  const yaml = [
    "identity:",
    '  tenants: ["${AZURE_TENANT_ID}"]',
    '  audiences: ["${AZURE_CLIENT_ID}", "api://${AZURE_CLIENT_ID}"]',
    "downstreamApis:",
    one("one", "scopes: [https://graph.microsoft.com/.default]"),
    one("two", 'scopes: ["api://nobody-registered-this/.default"], encodedSlashes: pass'),
    one("odata", "scopes: [https://graph.microsoft.com/.default], kind: odata"),
    "routes:",
    ...lines,
    "local: {}",
    "",
  ].join("\n");
  return { routes, yaml };
}

function generateTarget(random: Random, routes: readonly GeneratedRoute[]): string {
  const { path } = random.pick(routes);
  const start =
    random.below(10) === 0
      ? random.pick(["", "/nowhere", path.toUpperCase(), `${path}x`, path.slice(0, -1)])
      : path;
  const depth = random.below(4);
  const rest = Array.from(
    { length: depth },
    () => `/${random.pick(random.below(3) === 0 ? ODD : SEGMENTS)}`,
  ).join("");
  const query = random.pick(["", "", "", "?", "?x=1", "?a=/../b", "?%"]);
  const target = `${start}${rest}${random.below(6) === 0 ? "/" : ""}${query}`;
  // Anything else is no request-target that a client could send.
  return target.startsWith("/") ? target : `/${target}`;
}

function generateCredentials(random: Random): Readonly<Record<string, string>> | readonly string[] {
  const user = random.pick(["ada", "grace", "edsger"]);
  const token = () =>
    emulator.mintUserToken({
      user,
      scopes: random.pick(SCOPES).split(" "),
      ...(random.below(2) === 0 && { capabilities: ["cp1"] }),
      ...(random.below(4) === 0 && { claims: { acrs: ["c1"], roles: ["Reader"] } }),
      ...(random.below(4) === 0 && { clientId: emulator.publicClientId }),
    });
  switch (random.below(20)) {
    case 0:
      return {};
    case 1:
      return { authorization: "Basic dXNlcjpwYXNz" };
    case 2:
      return bearer(emulator.mintUserToken({ signWith: "unpublished" }));
    case 3:
      return bearer(emulator.mintUserToken({ expiresInSeconds: -10 }));
    case 4:
      return bearer(emulator.mintUserToken({ appOnly: true, claims: { roles: ["Reader"] } }));
    case 5:
      return ["authorization", `Bearer ${token()}`, "authorization", `Bearer ${token()}`];
    case 6:
      return bearer(emulator.mintUserToken({ tenantId: emulator.foreignTenant.id }));
    default:
      return bearer(token());
  }
}

/** A request that a route lets pass, unless another route has a say in it. */
function fittingRequest(random: Random, routes: readonly GeneratedRoute[]) {
  const { path, allow, methods } = random.pick(routes);
  const pattern = random.pick(allow);
  const below = pattern.replaceAll("/**", "/me/x").replaceAll("*", "me");
  const token = emulator.mintUserToken({
    user: random.pick(["ada", "grace"]),
    scopes: ["access_as_user", "admin.read"],
    clientId: emulator.publicClientId,
    capabilities: ["cp1"],
    claims: { acrs: ["c1"], roles: ["Reader"] },
  });
  return {
    method: random.pick(methods),
    target: path + (below === "/" ? "" : below),
    credentials: linesOf(bearer(token)),
  };
}

const linesOf = (fields: Readonly<Record<string, string>> | readonly string[]) =>
  Array.isArray(fields) ? fields : Object.entries(fields).flat();

/** Targets go over the wire as bytes; a client of node:http refuses to send some of these. */
const isSendable = (target: string) => /^[\x21-\x7e]+$/.test(target);

test.each(Array.from({ length: GATEWAYS }, (_, index) => SEED + index))(
  "the same decision and the same code, from seed %i",
  async (seed) => {
    const random = createRandom(seed);
    const { routes, yaml } = generateRoutes(random);
    const gateway: TestGateway = await startTestGateway({ emulator, yaml, env: { LOCAL_PORT: "0" } });
    try {
      for (let count = 0; count < REQUESTS; count += 1) {
        const { method, target, credentials } =
          random.below(3) === 0
            ? fittingRequest(random, routes)
            : {
                method: random.pick(METHODS),
                target: generateTarget(random, routes),
                credentials: linesOf(generateCredentials(random)),
              };
        if (!isSendable(target)) continue;
        const proxied = await ask(gateway.url, target, { method, headers: credentials });
        // What the API answers is 200 alone, so any other status is a decision of the gateway's.
        const path = target.replace(/\?.*/, "");
        const mounted = routes
          .filter((route) => path === route.path || path.startsWith(`${route.path}/`))
          .sort((a, b) => b.path.length - a.path.length)[0];
        const named =
          random.below(2) === 0 ? (mounted?.path ?? routes[0]?.path) : `/${mounted?.api ?? "one"}`;
        const fields =
          random.below(2) === 0
            ? ["X-Original-URI", target, "X-Original-Method", method]
            : ["X-Forwarded-Uri", target, "X-Forwarded-Method", method];
        const decided = await ask(gateway.localUrl, `/forward-auth${named}`, {
          headers: [...credentials, ...fields],
        });
        const codeOf = (answer: typeof decided) =>
          answer.status === 200 ? "granted" : (answer.headers["x-code"] ?? answer.body?.code ?? "none");
        const facts = (answer: typeof decided) => ({
          status: answer.status,
          // An answer to HEAD has no body to read a code from.
          ...(method !== "HEAD" && {
            code: codeOf(answer),
            reason: answer.body?.reason,
            claims: answer.body?.claims,
          }),
          challenge: answer.headers["www-authenticate"],
          allow: answer.headers.allow,
        });
        const asked = { seed, count, method, target, named };
        expect({ ...asked, ...facts(decided) }).toEqual({ ...asked, ...facts(proxied) });
        expect(decided.headers.authorization !== undefined).toBe(decided.status === 200);
        const code = method === "HEAD" ? "head" : String(codeOf(decided));
        decisions.set(code, (decisions.get(code) ?? 0) + 1);
      }
    } finally {
      await gateway.stop();
    }
  },
  120_000,
);

test("what was generated led to every kind of decision, and to many that let pass", () => {
  expect([...decisions.keys()]).toEqual(
    expect.arrayContaining([
      "granted",
      "token_missing",
      "token_rejected",
      "scope_insufficient",
      "user_token_required",
      "claims_challenged",
      "interaction_required",
      "method_not_allowed",
      "target_forbidden",
      "request_malformed",
      "route_unknown",
      "downstream_misconfigured",
    ]),
  );
  expect(decisions.get("granted")).toBeGreaterThan(20);
});
