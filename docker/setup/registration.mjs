/** What has to be sent so that an app registration becomes what the gateway needs, and nothing of it when it already is. */

import { randomUUID } from "node:crypto";
import { text } from "node:stream/consumers";
import { isDeepStrictEqual, parseArgs } from "node:util";

const GRAPH = "00000003-0000-0000-c000-000000000000";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    "app-id": { type: "string", default: "" },
    scope: { type: "string", default: "access_as_user" },
    client: { type: "string", multiple: true, default: [] },
    permission: { type: "string", multiple: true, default: [] },
    "redirect-uri": { type: "string", multiple: true, default: [] },
    name: { type: "string", default: "" },
    issuer: { type: "string", default: "" },
    subject: { type: "string", default: "" },
    audience: { type: "string", default: "" },
  },
});

const current = JSON.parse(await text(process.stdin));
const [kind] = positionals;
const KINDS = { application: applicationPatches, "public-client": publicClientPatch };
const lines = (KINDS[kind] ?? federatedCredential)(current);
for (const line of lines) console.log(line);

/**
 * Lists are replaced as a whole by Graph, so what others put there is sent along. Pre-authorised clients name the
 * scope by its id, which has to exist first: a second request, with the whole of `api` again.
 */
function applicationPatches(application) {
  const { api = {}, identifierUris = [], optionalClaims, requiredResourceAccess = [] } = application;
  const scopes = api.oauth2PermissionScopes ?? [];
  const scope = scopes.find(({ value }) => value === values.scope) ?? newScope(values.scope);
  const withScope = {
    ...api,
    requestedAccessTokenVersion: 2,
    oauth2PermissionScopes: union(scopes, [scope], ({ value }) => value),
    knownClientApplications: union(api.knownClientApplications ?? [], values.client),
  };
  const accessToken = optionalClaims?.accessToken ?? [];
  const first = changed(application, {
    identifierUris: union(identifierUris, [`api://${values["app-id"]}`]),
    api: { ...withScope, preAuthorizedApplications: api.preAuthorizedApplications ?? [] },
    optionalClaims: {
      ...optionalClaims,
      accessToken: union(accessToken, [{ name: "xms_cc", essential: false }], ({ name }) => name),
    },
    requiredResourceAccess: withPermissions(requiredResourceAccess),
  });
  const authorised = preAuthorised(api.preAuthorizedApplications ?? [], scope.id);
  const second = isDeepStrictEqual(authorised, api.preAuthorizedApplications ?? [])
    ? undefined
    : { api: { ...withScope, preAuthorizedApplications: authorised } };
  return [first, second].filter((patch) => patch !== undefined).map((patch) => JSON.stringify(patch));
}

/**
 * The client that all MCP clients sign in with: "mobile and desktop", since for those alone Entra leaves the port of
 * http://localhost out of the comparison. It is another registration than the gateway's: a client that asks for its own
 * scopes is refused (AADSTS90009).
 */
function publicClientPatch({ client, gateway }) {
  const { publicClient = {}, requiredResourceAccess = [] } = client;
  const scope = gateway.api?.oauth2PermissionScopes?.find(({ value }) => value === values.scope);
  const patch = changed(client, {
    isFallbackPublicClient: true,
    publicClient: {
      ...publicClient,
      redirectUris: union(publicClient.redirectUris ?? [], values["redirect-uri"]),
    },
    ...(scope !== undefined && {
      requiredResourceAccess: withScope(requiredResourceAccess, values["app-id"], scope.id),
    }),
  });
  return patch === undefined ? [] : [JSON.stringify(patch)];
}

function withScope(required, resourceAppId, scopeId) {
  const there = required.find((one) => one.resourceAppId === resourceAppId);
  if (there === undefined)
    return [...required, { resourceAppId, resourceAccess: [{ id: scopeId, type: "Scope" }] }];
  const resourceAccess = union(there.resourceAccess, [{ id: scopeId, type: "Scope" }], ({ id }) => id);
  return required.map((one) => (one === there ? { ...there, resourceAccess } : one));
}

function newScope(value) {
  return {
    id: randomUUID(),
    value,
    type: "User",
    isEnabled: true,
    adminConsentDisplayName: "Call the gateway",
    adminConsentDescription: "Call the gateway as the signed-in user",
    userConsentDisplayName: "Call the gateway",
    userConsentDescription: "Call the gateway as you",
  };
}

/** Members of the wish that differ; undefined when none does. */
function changed(application, wish) {
  const differing = Object.entries(wish).filter(([name, value]) => !covers(application[name], value));
  return differing.length === 0 ? undefined : Object.fromEntries(differing);
}

/** Whether what is there already says all that is wished; an absent list is an empty one. */
function covers(there, wish) {
  if (Array.isArray(wish)) return isDeepStrictEqual(there ?? [], wish);
  if (wish === null || typeof wish !== "object") return there === wish;
  return Object.entries(wish).every(([name, value]) => covers(there?.[name], value));
}

function withPermissions(required) {
  const graph = required.find(({ resourceAppId }) => resourceAppId === GRAPH) ?? {
    resourceAppId: GRAPH,
    resourceAccess: [],
  };
  const wanted = values.permission.map((id) => ({ id, type: "Scope" }));
  const resourceAccess = union(graph.resourceAccess, wanted, ({ id, type }) => `${type} ${id}`);
  const others = required.filter((one) => one !== graph);
  return resourceAccess.length === graph.resourceAccess.length
    ? required
    : [...others, { ...graph, resourceAccess }];
}

function preAuthorised(there, scopeId) {
  const known = new Set(there.map(({ appId }) => appId));
  const grown = there.map((entry) =>
    !values.client.includes(entry.appId) || entry.delegatedPermissionIds.includes(scopeId)
      ? entry
      : { ...entry, delegatedPermissionIds: [...entry.delegatedPermissionIds, scopeId] },
  );
  const added = values.client
    .filter((appId) => !known.has(appId))
    .map((appId) => ({ appId, delegatedPermissionIds: [scopeId] }));
  return [...grown, ...added];
}

function union(there, wanted, keyOf = (one) => one) {
  const keys = new Set(there.map(keyOf));
  const missing = wanted.filter((one) => !keys.has(keyOf(one)));
  return missing.length === 0 ? there : [...there, ...missing];
}

/** Entra compares the three byte by byte, and so does this. A credential of our name is ours to correct. */
function federatedCredential(credentials) {
  const { name, issuer, subject, audience } = values;
  const fits = (one) => one.issuer === issuer && one.subject === subject && one.audiences?.includes(audience);
  if (credentials.some(fits)) return [];
  const verb = credentials.some((one) => one.name === name) ? "update" : "create";
  return [`${verb} ${JSON.stringify({ name, issuer, subject, audiences: [audience] })}`];
}
