/**
 * Stands in for the Azure CLI: one tenant with its state in a file, a log of every call, and exit 2 for whatever the
 * real one might understand but nobody taught this one. Not a model of `az`: answers are those of the queries asked.
 */

import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

const { AZ_STATE: stateFile, AZ_LOG: logFile } = process.env;
const args = process.argv.slice(2);
appendFileSync(logFile, `${JSON.stringify(args)}\n`);
const state = JSON.parse(readFileSync(stateFile, "utf8"));

const options = {};
const words = [];
for (let index = 0; index < args.length; index++) {
  const argument = args[index];
  if (!argument.startsWith("-")) words.push(argument);
  else if (args[index + 1]?.startsWith("-") !== false) options[argument] = true;
  else options[argument] = args[++index];
}
const command = words.join(" ");

const GRAPH = "00000003-0000-0000-c000-000000000000";
const save = () => writeFileSync(stateFile, JSON.stringify(state));
const say = (value) => console.log(typeof value === "string" ? value : JSON.stringify(value));
const none = () => {};
const missing = (what) => {
  console.error(`ERROR: ${what} does not exist`);
  process.exit(3);
};
const application = () => {
  const id = options["--id"] ?? /appId='([^']+)'/.exec(options["--url"] ?? "")?.[1];
  return state.applications.find(({ appId }) => appId === id) ?? missing(`application ${id}`);
};

const COMMANDS = {
  "account show": () => (state.signedIn ? say(state.tenantId) : missing("a session")),
  "cloud show": () => say(options["--query"] === "name" ? state.cloud : "https://graph.microsoft.com/"),
  "ad app list": () =>
    say(
      state.applications
        .filter(({ displayName }) => displayName === options["--display-name"])
        .map(({ appId }) => appId)
        .join("\n"),
    ),
  "ad app create": () => {
    const appId = `aaaaaaaa-0000-4000-8000-00000000000${state.applications.length + 1}`;
    state.applications.push({
      appId,
      displayName: options["--display-name"],
      api: { requestedAccessTokenVersion: null },
    });
    save();
    say(appId);
  },
  "ad sp list": () =>
    say(
      state.principals
        .filter((id) => options["--filter"] === `appId eq '${id}'`)
        // A service principal has an object id of its own.
        .map((id) => id.replace(/^.{8}/, "dddddddd"))
        .join("\n"),
    ),
  "ad sp create": () => {
    // Entra's servers learn of a new application one after the other.
    if (state.notYet > 0) {
      state.notYet -= 1;
      save();
      missing("the application, on this server,");
    }
    state.principals.push(application().appId);
    save();
    say("principal");
  },
  "ad sp show": () => {
    const wanted = /value=='([^']+)'/.exec(options["--query"])?.[1];
    say(options["--id"] === GRAPH ? (state.graphPermissions[wanted] ?? "") : missing("the principal"));
  },
  "redisenterprise database access-policy-assignment list": () => {
    if (options["--cluster-name"] !== state.redis.name || options["--resource-group"] !== state.redis.group)
      return missing(`the Redis ${options["--cluster-name"]}`);
    const wanted = /user\.objectId=='([^']+)'/.exec(options["--query"])?.[1];
    say(
      state.redis.assignments
        .filter(({ objectId }) => objectId === wanted)
        .map(({ name }) => name)
        .join("\n"),
    );
  },
  "redisenterprise database access-policy-assignment create": () => {
    const name = options["--access-policy-assignment-name"];
    // The service's own rule for the name.
    if (!/^[A-Za-z0-9]{1,60}$/.test(name) || options["--access-policy-name"] !== "default")
      return missing("such a name or policy");
    state.redis.assignments.push({ name, objectId: options["--object-id"] });
    save();
  },
  rest: () => {
    if (options["--method"] === "GET") return say(application());
    if (options["--method"] !== "PATCH") return missing("the method");
    const patch = JSON.parse(options["--body"]);
    const known = new Set((application().api?.oauth2PermissionScopes ?? []).map(({ id }) => id));
    for (const { delegatedPermissionIds } of patch.api?.preAuthorizedApplications ?? [])
      if (!delegatedPermissionIds.every((id) => known.has(id)))
        missing("a scope that a client is authorised for");
    Object.assign(application(), patch);
    save();
  },
  "ad app permission list-grants": () => say(state.grants.join("\n")),
  "ad app permission admin-consent": () => {
    if (!state.mayConsent) missing("the role for that");
    state.grants = [Object.keys(state.graphPermissions).join(" ")];
    save();
  },
  "aks show": () => {
    const { cluster } = state;
    const answers = {
      "oidcIssuerProfile.enabled": String(cluster.enabled),
      "securityProfile.workloadIdentity.enabled": cluster.enabled ? "true" : "",
      "oidcIssuerProfile.issuerUrl": cluster.enabled ? cluster.issuer : "",
    };
    say(answers[options["--query"]] ?? missing("the query"));
  },
  "aks update": () => {
    state.cluster.enabled =
      options["--enable-oidc-issuer"] === true && options["--enable-workload-identity"] === true;
    save();
  },
  "ad app federated-credential list": () => say(application().federated ?? []),
  "ad app federated-credential create": () => {
    const app = application();
    app.federated = [...(app.federated ?? []), JSON.parse(options["--parameters"])];
    save();
  },
  "ad app federated-credential update": () => {
    const app = application();
    const wanted = options["--federated-credential-id"];
    app.federated = app.federated.map((one) =>
      one.name === wanted ? JSON.parse(options["--parameters"]) : one,
    );
    save();
  },
};

if (COMMANDS[command] === undefined) {
  console.error(`the stub does not know: az ${args.join(" ")}`);
  process.exit(2);
}
(COMMANDS[command] ?? none)();
