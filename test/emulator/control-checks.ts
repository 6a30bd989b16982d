/** What the control port accepts: a misspelt option or an unknown defect is refused, with the names that exist. */

import { ERRORS, errorRow, SIGN_IN_ERRORS } from "./entra/errors.ts";
import type { FaultBehaviour, FaultEndpoint, FaultOptions } from "./fault.ts";
import type {
  GraphChallengeOptions,
  GraphThrottleOptions,
  MfaRequirement,
  MintOptions,
  RedirectType,
  RefusalOptions,
  ServiceAccountTokenOptions,
  TokenVolume,
} from "./handle.ts";
import { isObject } from "./jws.ts";

/** @throws with a sentence for the person who sent it. */
type Check = (value: unknown, name: string) => void;
/** A record of this type cannot forget a member, nor name one that is none. */
type Members<Options> = Readonly<Record<keyof Options, Check>>;

const text: Check = (value, name) => {
  if (typeof value !== "string") throw new Error(`'${name}' must be text`);
};
const number: Check = (value, name) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`'${name}' must be a number`);
};
const flag: Check = (value, name) => {
  if (typeof value !== "boolean") throw new Error(`'${name}' must be true or false`);
};
const anything: Check = () => {};
const record: Check = (value, name) => {
  if (!isObject(value)) throw new Error(`'${name}' must be an object`);
};
const texts: Check = (value, name) => {
  if (!Array.isArray(value) || !value.every((each) => typeof each === "string")) {
    throw new Error(`'${name}' must be a list of texts`);
  }
};
const oneOf =
  <Value extends string>(...values: readonly Value[]): Check =>
  (value, name) => {
    if (!(values as readonly unknown[]).includes(value)) {
      throw new Error(`'${name}' must be one of ${values.join(", ")}; not ${JSON.stringify(value)}`);
    }
  };
const either =
  (...checks: readonly Check[]): Check =>
  (value, name) => {
    const faults = checks.map((check) => faultOf(check, value, name));
    if (faults.every((fault) => fault !== undefined)) throw new Error(faults.join("; or: "));
  };
const exactly =
  (expected: unknown): Check =>
  (value, name) => {
    if (value !== expected) throw new Error(`'${name}' must be ${JSON.stringify(expected)}`);
  };
const members =
  <Options>(known: Members<Options>, required: readonly (keyof Options & string)[] = []): Check =>
  (value, name) => {
    if (!isObject(value)) throw new Error(`'${name}' must be an object`);
    checkMembers(value, known, required);
  };

function faultOf(check: Check, value: unknown, name: string): string | undefined {
  try {
    check(value, name);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function checkMembers(
  value: Readonly<Record<string, unknown>>,
  known: Readonly<Record<string, Check>>,
  required: readonly string[],
): void {
  for (const [name, member] of Object.entries(value)) {
    const check = Object.hasOwn(known, name) ? known[name] : undefined;
    if (check === undefined) {
      const names = Object.keys(known);
      throw new Error(`unknown option '${name}'; known: ${names.length === 0 ? "none" : names.join(", ")}`);
    }
    check(member, name);
  }
  const missing = required.find((name) => value[name] === undefined);
  if (missing !== undefined) throw new Error(`'${missing}' is missing`);
}

const DEFECTS = ["missing", "empty", "half-written"] satisfies Parameters<TokenVolume["breakWith"]>[0][];

const ENDPOINTS: Members<Record<FaultEndpoint, unknown>> = {
  token: anything,
  authorize: anything,
  discovery: anything,
  keys: anything,
  "instance-discovery": anything,
  graph: anything,
  "kubernetes-discovery": anything,
  "kubernetes-keys": anything,
};

type Kind = FaultBehaviour["kind"];
type OfKind<K extends Kind> = Omit<Extract<FaultBehaviour, { kind: K }>, "kind">;
const when = oneOf("before-headers", "amid-body");
const BEHAVIOURS: { readonly [K in Kind]: Members<OfKind<K>> } = {
  json: { status: number, body: anything, retryAfter: either(text, number), headers: record },
  text: { status: number, body: text, contentType: text, retryAfter: either(text, number) },
  html: { status: number },
  patch: { set: record, remove: texts },
  redirect: { location: text, status: number },
  truncated: {},
  huge: { bytes: number },
  reset: { when },
  stall: { when },
  drip: { intervalMs: number },
  delay: { ms: number },
  hold: {},
};
const NEEDED: { readonly [K in Kind]?: readonly string[] } = {
  json: ["status"],
  text: ["status"],
  redirect: ["location"],
  huge: ["bytes"],
  reset: ["when"],
  stall: ["when"],
  drip: ["intervalMs"],
  delay: ["ms"],
};

const behaviour: Check = (value, name) => {
  if (!isObject(value)) throw new Error(`'${name}' must be an object`);
  const { kind, ...rest } = value;
  const kinds = Object.keys(BEHAVIOURS) as Kind[];
  oneOf(...kinds)(kind, "kind");
  checkMembers(rest, BEHAVIOURS[kind as Kind], NEEDED[kind as Kind] ?? []);
};

const grant = oneOf<NonNullable<RefusalOptions["grant"]>>(
  "on-behalf-of",
  "client-credentials",
  "authorization-code",
  "refresh-token",
  "authorize",
);

const refusal = members<RefusalOptions>(
  {
    code: number,
    user: text,
    tenantId: text,
    clientId: text,
    scope: text,
    grant,
    times: number,
    claims: either(text, exactly(true)),
    spelling: oneOf("own-error", "basic-action"),
    description: oneOf("one-line", "crlf"),
    errorUri: flag,
    error: text,
    suberror: either(text, exactly(null)),
    status: number,
    retryAfterSeconds: number,
  },
  ["code"],
);

const serviceAccountToken: Members<ServiceAccountTokenOptions> = {
  namespace: text,
  serviceAccount: text,
  audience: text,
  expirationSeconds: number,
  claims: record,
};

const consent = { clientId: text, tenantId: text, resource: text };

/** By the control port's path, with the placeholders of its routes. */
export const CONTROL_CHECKS = {
  "/tokens": members<MintOptions>({
    user: text,
    tenantId: text,
    clientId: text,
    scopes: texts,
    version: oneOf("1.0", "2.0"),
    audience: text,
    claims: record,
    expiresInSeconds: number,
    capabilities: texts,
    claimsRequest: text,
    appOnly: flag,
    authorityHost: text,
    header: record,
    signWith: text,
  }),
  "/refusals": ((value, name) => {
    refusal(value, name);
    const { code, error } = value as RefusalOptions;
    if (errorRow(code) !== undefined || error !== undefined) return;
    throw new Error(
      `unknown code ${code}; name its 'error' as well, or use one of ${Object.keys({ ...ERRORS, ...SIGN_IN_ERRORS }).join(", ")}`,
    );
  }) satisfies Check,
  "/faults": members<FaultOptions>(
    {
      endpoint: oneOf(...Object.keys(ENDPOINTS)),
      behaviour,
      times: number,
      match: members<NonNullable<FaultOptions["match"]>>({ tenantId: text, path: text, method: text }),
    },
    ["endpoint", "behaviour"],
  ),
  "/users/:user/require-mfa": members<MfaRequirement>({
    authContext: text,
    spelling: oneOf("own-error", "basic-action"),
    atSignIn: flag,
  }),
  "/users/:user/sign-in-frequency": members<{ seconds: number }>({ seconds: number }, ["seconds"]),
  "/users/:user/change-password": members<{ by?: string }>({ by: oneOf("user", "administrator") }),
  "/users/:user/graph-challenge": members<GraphChallengeOptions>({
    claims: text,
    satisfiedBy: oneOf("new-token", "nothing"),
    header: text,
    times: number,
    path: text,
  }),
  "/graph/throttle": members<GraphThrottleOptions>({ path: text, times: number, retryAfter: number }),
  "/graph/permissions": members<{ enforced: boolean }>({ enforced: flag }, ["enforced"]),
  "/consent/revoke": members<typeof consent>(consent),
  "/consent/grant": members<typeof consent & { scopes: unknown; user: unknown }>(
    { ...consent, scopes: texts, user: text },
    ["scopes"],
  ),
  "/consent/users": members<{ allowed: boolean; tenantId: string }>({ allowed: flag, tenantId: text }, [
    "allowed",
  ]),
  "/applications/:clientId/redirect-uris": members<{ uri: string; type: RedirectType }>(
    { uri: text, type: oneOf("spa", "web", "public") },
    ["uri", "type"],
  ),
  "/federated-token/rotate": members<ServiceAccountTokenOptions>(serviceAccountToken),
  "/federated-token/break": members<{ defect: string }>({ defect: oneOf(...DEFECTS) }, ["defect"]),
  "/keys/roll": members<{ publish: boolean }>({ publish: flag }),
  "/clock/advance": members<{ ms: number }>({ ms: number }, ["ms"]),
  "/users/:user/revoke-sessions": members<Record<never, never>>({}),
  "/client-certificate/rotate": members<Record<never, never>>({}),
} satisfies Record<string, Check>;
