/** The emulator as a command: `npm run emulator -- --help`, `obo-gateway emulator`. */

import { createHash, randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { factsOf } from "./control.ts";
import { type Emulator, type EmulatorOptions, startEmulator } from "./emulator.ts";

const USAGE = `npm run emulator -- [options]

  --authority-port N    Entra over HTTPS              (default 8443, or a free port when that is taken)
  --graph-port N        Microsoft Graph over HTTPS    (default 8444, likewise)
  --kubernetes-port N   service-account issuer        (default 8445, likewise)
  --control-port N      control over plain HTTP       (default 8446, likewise)
  --host ADDRESS        address to listen on          (default 127.0.0.1)
  --public-host NAME    name in the emulator's URLs   (default localhost)
  --state-dir DIR       where certificates and token files go (default: a temporary directory)
  --json                print the facts as one line of JSON, nothing else
  --exit-with-parent    end when standard input or the IPC channel closes
`;

const DEFAULT_PORTS = { authority: 8443, graph: 8444, kubernetes: 8445, control: 8446 };

const OPTIONS = {
  "authority-port": { type: "string" },
  "graph-port": { type: "string" },
  "kubernetes-port": { type: "string" },
  "control-port": { type: "string" },
  host: { type: "string" },
  "public-host": { type: "string" },
  "state-dir": { type: "string" },
  json: { type: "boolean", default: false },
  "exit-with-parent": { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

type Values = ReturnType<typeof readArguments>;

function readArguments(args: readonly string[]) {
  return parseArgs({ args: [...args], options: OPTIONS }).values;
}

/** @param args What follows the name of the command. */
export async function runEmulator(args: readonly string[]): Promise<void> {
  const values = readArguments(args);
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const emulator = await start(values);
  const stop = () => {
    // A second signal must not wait for the first one's cleaning up.
    void emulator.close().then(() => process.exit(0));
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  if (values["exit-with-parent"]) exitWithParent(stop);
  // The kubelet writes a new token when 80 % of the old one's hour is gone.
  setInterval(() => void emulator.tokenVolume.rotate(), 48 * 60_000).unref();
  process.stdout.write(values.json ? `${JSON.stringify(factsOf(emulator))}\n` : description(emulator));
}

/** Ports that were asked for must be had; a default one gives way to any free port. */
async function start(values: Values): Promise<Emulator> {
  const asked = {
    authority: port(values, "authority-port"),
    graph: port(values, "graph-port"),
    kubernetes: port(values, "kubernetes-port"),
    control: port(values, "control-port"),
  };
  const options: EmulatorOptions = {
    ...(values.host === undefined ? {} : { host: values.host }),
    ...(values["public-host"] === undefined ? {} : { publicHost: values["public-host"] }),
    ...(values["state-dir"] === undefined ? {} : { stateDirectory: values["state-dir"] }),
  };
  const withDefaults = (defaults: typeof DEFAULT_PORTS | Record<string, never>) => ({
    ...options,
    ports: {
      ...defaults,
      ...Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined)),
    },
  });
  try {
    return await startEmulator(withDefaults(DEFAULT_PORTS));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    return await startEmulator(withDefaults({}));
  }
}

function port(
  values: Values,
  name: "authority-port" | "graph-port" | "kubernetes-port" | "control-port",
): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new Error(`--${name}: not a port: ${text}`);
  return Number(text);
}

function exitWithParent(stop: () => void): void {
  if (process.connected) {
    process.once("disconnect", stop);
    return;
  }
  process.stdin.once("end", stop);
  process.stdin.once("close", stop);
  process.stdin.resume();
}

function description(emulator: Emulator): string {
  const { files, controlUrl } = emulator;
  return `Entra      ${emulator.authorityHost}
Graph      ${emulator.graphUrl}
Kubernetes ${emulator.kubernetes.issuer}
Control    ${controlUrl}
Users      ada, grace, edsger (an administrator) of ${emulator.homeTenant.domain}, tenant ${emulator.tenantId}
           linus of ${emulator.secondTenant.domain}, tenant ${emulator.secondTenant.id}; no password is asked for

Sign-in of a page, a program or an MCP client:

authority      ${emulator.authorityHost}${emulator.tenantId}/v2.0
page           client id ${emulator.frontEndClientId}
               redirect URI http://localhost, /redirect or /redirect.html with any port (single-page application)
program, MCP   client id ${emulator.publicClientId}
               redirect URI http://localhost, /callback or /oauth/callback with any port, http://127.0.0.1:33418
scope          api://${emulator.clientId}/access_as_user
another URI    curl -s -X POST ${controlUrl}/applications/${emulator.frontEndClientId}/redirect-uris \\
                 -H 'content-type: application/json' -d '{"uri":"http://127.0.0.1:3000/","type":"spa"}'

A browser must trust ${files.caCertificate}; or open ${emulator.authorityHost} once and accept its certificate.
To see the pages at once:

${signInAddress(emulator)}

Environment of a gateway, with either kind of credential; npm run build && npm start then runs it:

export GATEWAY_CONFIG='config/demo.yaml'
export GRAPH_URL='${emulator.graphUrl}'
export NODE_EXTRA_CA_CERTS='${files.caCertificate}'
export AZURE_AUTHORITY_HOST='${emulator.authorityHost}'
export AZURE_TENANT_ID='${emulator.tenantId}'
export AZURE_CLIENT_ID='${emulator.clientId}'
export AZURE_FEDERATED_TOKEN_FILE='${files.federatedToken}'
export AZURE_CLIENT_CERTIFICATE_PATH='${files.clientCertificate}'

A token for the gateway, as a front end would get it for ada:

curl -s -X POST ${controlUrl}/tokens -H 'content-type: application/json' -d '{"user":"ada","capabilities":["cp1"]}'

Ctrl-C ends it and removes its files.
`;
}

/** A request with PKCE; the code that comes back is for a client that knows the verifier, so it only shows the pages. */
function signInAddress(emulator: Emulator): string {
  const url = new URL(`${emulator.authorityHost}${emulator.tenantId}/oauth2/v2.0/authorize`);
  const parameters = {
    client_id: emulator.frontEndClientId,
    response_type: "code",
    redirect_uri: "http://localhost",
    response_mode: "fragment",
    scope: `api://${emulator.clientId}/access_as_user openid profile`,
    code_challenge: createHash("sha256").update(randomUUID()).digest("base64url"),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}
