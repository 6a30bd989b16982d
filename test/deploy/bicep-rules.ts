/** Whether the Bicep files still declare what azure.sh does. No compiler is at hand: this reads their text. */

export interface SetupTexts {
  /** docker/setup/azure.sh */
  readonly script: string;
  /** docker/setup/registration.mjs */
  readonly registration: string;
  /** docker/setup/main.bicep */
  readonly main: string;
  /** docker/setup/exposed-api.bicep */
  readonly exposed: string;
}

/** One sentence for each difference. */
export function bicepFaults({ script, registration, main, exposed }: SetupTexts): string[] {
  const faults: string[] = [];
  const same = (what: string, bicep: string | undefined, wanted: string | undefined) => {
    if (bicep === undefined || bicep !== wanted) faults.push(`${what} is ${bicep} instead of ${wanted}`);
  };
  const parameter = (name: string) => first(main, new RegExp(`^param ${name} string = '(.*)'$`, "m"));
  const variable = (name: string) => first(script, new RegExp(`^${name}=(\\S+)$`, "m"));

  for (const [bicep, bash] of [
    ["name", "name"],
    ["scope", "scope"],
    ["namespace", "namespace"],
    ["serviceAccount", "service_account"],
  ] as const)
    same(`the default of ${bicep}`, parameter(bicep), variable(bash));
  same(
    "the default permission",
    first(main, /^param permissions string\[\] = \[(.*)\]$/m)?.replaceAll(/[',]/g, ""),
    first(script, /permissions=\(([\w. ]+)\)$/m),
  );
  same(
    "the federated subject",
    first(main, /subject: '(.*)'$/m)
      ?.replace("${namespace}", "$namespace")
      .replace("${serviceAccount}", "$service_account"),
    first(script, /--subject "(.*?)"/),
  );
  same(
    "the federated audience",
    first(main, /audiences: \['(.*)'\]/),
    first(script, /^ *\*\) audience=(\S+) ;;$/m),
  );
  same(
    "the federated credential's name",
    first(main, /name: '\$\{application\.uniqueName\}\/(.*)'$/m)
      ?.replace("${clusterName}", "$cluster")
      .replace("${namespace}", "$namespace")
      .replace("${serviceAccount}", "$service_account"),
    first(script, /--name "(aks-.*?)"/),
  );
  same(
    "Microsoft Graph's id",
    first(main, /appId: '([0-9a-f-]{36})'/),
    first(registration, /GRAPH = "(.*)"/),
  );
  same(
    "the optional claim",
    first(main, /accessToken: \[[^\]]*name: '(\w+)'/),
    first(registration, /name: "(\w+)", essential/),
  );
  same(
    "the access policy of Redis",
    first(main, /accessPolicyName: '(.*)'/),
    first(script, /--access-policy-name (\w+)/),
  );
  same(
    "the name of its assignment",
    first(main, /name: '\$\{redisName\}\/default\/(\w+)'/),
    first(script, /--access-policy-assignment-name (\w+)/),
  );
  if (!/user: \{\s*objectId: principal\.id\s*\}/.test(main))
    faults.push("the access policy of Redis is for another identity");
  for (const key of [
    "requestedAccessTokenVersion",
    "adminConsentDisplayName",
    "adminConsentDescription",
    "userConsentDisplayName",
    "userConsentDescription",
  ]) {
    const value = new RegExp(`${key}: ['"]?(.*?)['"]?,?$`, "m");
    same(key, first(main, value), first(registration, value));
  }
  for (const key of ["knownClientApplications", "preAuthorizedApplications", "requiredResourceAccess"])
    if (!main.includes(`${key}: `)) faults.push(`${key} is left out`);
  if (!exposed.includes("identifierUris: ['api://${appId}']")) faults.push("the App ID URI is left out");
  for (const [file, text] of Object.entries({ "main.bicep": main, "exposed-api.bicep": exposed }))
    if (!isBalanced(text)) faults.push(`${file} does not close what it opens`);
  return faults;
}

function first(text: string, pattern: RegExp): string | undefined {
  return pattern.exec(text)?.[1];
}

/** Brackets outside of comments and of strings, whose interpolations hold pairs of their own. */
function isBalanced(text: string): boolean {
  const open: string[] = [];
  const pairs: Readonly<Record<string, string>> = { ")": "(", "]": "[", "}": "{" };
  const code = text.replaceAll(/^\s*\/\/.*$/gm, "").replaceAll(/'(?:\\.|[^'\\])*'/g, "");
  for (const [bracket] of code.matchAll(/[()[\]{}]/g)) {
    const opener = pairs[bracket];
    if (opener === undefined) open.push(bracket);
    else if (open.pop() !== opener) return false;
  }
  return open.length === 0;
}
