/** `obo-gateway init`: a first gateway.yaml, .env and compose.yaml. A file that is there already is never touched. */

import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { dotEnvPath } from "./configuration.ts";

export interface InitOptions {
  readonly directory: string;
  readonly tenant?: string;
  readonly client?: string;
  readonly credential?: Credential;
  readonly json?: true;
}

type Credential = "workload-identity" | "certificate" | "client-secret";

const GUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const CREDENTIAL_LINES: Readonly<Record<Credential, string>> = {
  "workload-identity": "# Set by the workload identity webhook in a cluster.\n# AZURE_FEDERATED_TOKEN_FILE=",
  certificate:
    "# PEM or PKCS#12 file with the private key and its certificate.\nAZURE_CLIENT_CERTIFICATE_PATH=client.pem",
  "client-secret": "# Keep this file out of version control.\nAZURE_CLIENT_SECRET=",
};

/** @throws {ConfigurationError} when an id is missing or no GUID, or a file is there already. */
export async function init(options: InitOptions): Promise<void> {
  const { tenant, client, credential } = await answers(options);
  const files = {
    "gateway.yaml": gatewayYaml(),
    ".env": dotEnv(tenant, client, credential),
    "compose.yaml": composeYaml(credential),
  };
  await mkdir(options.directory, { recursive: true });
  const written: string[] = [];
  const kept: string[] = [];
  for (const [name, text] of Object.entries(files)) {
    const file = join(options.directory, name);
    try {
      // `wx` lets the file system decide: a look beforehand and a write afterwards could meet another writer between.
      await writeFile(file, text, { flag: "wx", mode: name === ".env" ? 0o600 : 0o644 });
      written.push(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      kept.push(file);
    }
  }
  if (kept.length > 0) process.exitCode = 1;
  if (options.json) {
    console.log(JSON.stringify({ written, kept }, null, 2));
    return;
  }
  for (const file of written) console.log(`wrote ${file}`);
  for (const file of kept) console.error(`kept ${file}: it is there already`);
  console.log("next: obo-gateway check, then obo-gateway doctor, then obo-gateway start");
  // A clone reads the file beside its package.json wherever it is called, and would report every variable as missing.
  const read = dotEnvPath();
  if (resolve(options.directory, ".env") !== read)
    console.log(
      `these read ${read}; for the file in ${resolve(options.directory)} run there: node --env-file=.env ${process.argv[1]} check`,
    );
}

async function answers(options: InitOptions) {
  const { tenant, client, credential = "workload-identity" } = options;
  if (tenant !== undefined && client !== undefined) return checked(tenant, client, credential);
  // A pipe has no person behind it who could answer.
  if (!process.stdin.isTTY) return checked(tenant ?? "", client ?? "", credential);
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return checked(
      tenant ?? (await lines.question("Directory (tenant) id: ")).trim(),
      client ?? (await lines.question("Application (client) id of the gateway: ")).trim(),
      credential,
    );
  } finally {
    lines.close();
  }
}

function checked(tenant: string, client: string, credential: Credential) {
  const faults: ConfigurationFault[] = [];
  if (!GUID.test(tenant)) faults.push({ path: "--tenant", problem: "must be a directory id (GUID)" });
  if (!GUID.test(client)) faults.push({ path: "--client", problem: "must be an application id (GUID)" });
  if (faults.length > 0) throw new ConfigurationError(faults);
  return { tenant, client, credential };
}

function gatewayYaml(): string {
  return `# yaml-language-server: $schema=./node_modules/obo-gateway/config/gateway.schema.json
# Checked by \`obo-gateway check\`. Values of the environment come from .env or the process.

identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]

downstreamApis:
  graph:
    baseUrl: https://graph.microsoft.com/v1.0
    scopes: [https://graph.microsoft.com/.default]

routes:
  # Opens one path of Graph. \`obo-gateway permissions\` lists what each route needs.
  - path: /graph
    downstreamApi: graph
    methods: [GET]
    requiredScopes: [access_as_user]
    allow: ["/me"]
`;
}

function dotEnv(tenant: string, client: string, credential: Credential): string {
  return `GATEWAY_CONFIG=gateway.yaml

# Directory and application of the gateway's registration.
AZURE_TENANT_ID=${tenant}
AZURE_CLIENT_ID=${client}

${CREDENTIAL_LINES[credential]}

# HOST=127.0.0.1
# PORT=8080
# ADMIN_PORT=8081
`;
}

function composeYaml(credential: Credential): string {
  const certificate = credential === "certificate" ? '\n      - "./client.pem:/app/client.pem:ro"' : "";
  return `# docker compose up --wait; the image is built from the gateway's repository (docker/Dockerfile).
services:
  gateway:
    image: \${GATEWAY_IMAGE:-obo-gateway}
    env_file: .env
    environment:
      GATEWAY_CONFIG: /app/gateway.yaml
      HOST: "::"
      PORT: "8080"
      ADMIN_PORT: "8081"
    volumes:
      - "./gateway.yaml:/app/gateway.yaml:ro"${certificate}
    ports: ["127.0.0.1:8080:8080"]
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    tmpfs: ["/tmp:size=64m"]
    stop_grace_period: 15s
`;
}
