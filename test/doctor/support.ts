/** A configuration that would work in front of an emulator, to be broken in one place by each test. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, fetch as undiciFetch } from "undici";
import { type CheckedVerdict, type DoctorOptions, diagnose, type Report } from "../../src/doctor/diagnose.ts";
import { conclusionText, verdictText } from "../../src/doctor/print.ts";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import type { Emulator } from "../emulator/handle.ts";

export interface Patient {
  /** The doctor's report on a healthy configuration with these changes. */
  diagnose(changes?: Changes): Promise<Diagnosis>;
  /** A file in a directory of its own, readable for this user only. */
  file(name: string, content: string | Buffer, mode?: number): Promise<string>;
  close(): Promise<void>;
}

export interface Changes {
  readonly env?: Readonly<Record<string, string>>;
  /** Search and replacement in the YAML below. */
  readonly yaml?: readonly (readonly [from: string, to: string])[];
  readonly options?: DoctorOptions;
}

export interface Diagnosis extends Report {
  /** Faults and warnings, as one sees them in a terminal. */
  readonly text: string;
  /** The last line of the report. */
  readonly conclusion: string;
  of(check: string, about?: string): CheckedVerdict;
}

const YAML = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
routes:
  - path: /graph
    downstreamApi: graph
    requiredScopes: [access_as_user]
    allow: ["/me"]
`;

/** The start of any JWT, and whatever else no report may hold. */
const SECRETS = /eyJ[A-Za-z0-9_-]{8,}|PRIVATE KEY|s3cret/;

export async function createPatient(emulator: Emulator): Promise<Patient> {
  const directory = await mkdtemp(join(tmpdir(), "doctor-"));
  const agent = new Agent({ connect: { ca: emulator.caCertificate } });
  let files = 0;

  const file: Patient["file"] = async (name, content, mode = 0o600) => {
    files += 1;
    const path = join(directory, `${files}-${name}`);
    await writeFile(path, content, { mode });
    return path;
  };

  return {
    file,
    async diagnose({ env = {}, yaml = [], options = {} } = {}) {
      let text = YAML;
      for (const [from, to] of yaml) {
        if (!text.includes(from)) throw new Error(`the configuration does not hold ${from}`);
        text = text.replaceAll(from, () => to);
      }
      const configuration = await file("gateway.yaml", text);
      const report = await diagnose(
        () => ({
          GATEWAY_CONFIG: configuration,
          HOST: "127.0.0.1",
          PORT: "0",
          ADMIN_PORT: "0",
          AZURE_TENANT_ID: emulator.tenantId,
          AZURE_CLIENT_ID: emulator.clientId,
          AZURE_AUTHORITY_HOST: emulator.authorityHost,
          GRAPH_URL: emulator.graphUrl,
          AZURE_FEDERATED_TOKEN_FILE: emulator.files.federatedToken,
          ...env,
        }),
        {
          fetch: ((url, init) => undiciFetch(url, { ...init, dispatcher: agent } as object)) as Fetch,
          downstreamCa: emulator.caCertificate,
          ...options,
        },
      );
      const all = [...report.verdicts.map(verdictText), conclusionText(report), JSON.stringify(report)].join(
        "\n",
      );
      if (SECRETS.test(all)) throw new Error(`the report holds something secret: ${all}`);
      for (const { outcome, check, fix } of report.verdicts)
        if ((outcome === "fault" || outcome === "warning") && !fix)
          throw new Error(`${check} does not say how to correct it`);
      const reported = report.verdicts.filter(({ outcome }) => outcome === "fault" || outcome === "warning");
      return {
        ...report,
        text: reported.map(verdictText).join("\n"),
        conclusion: conclusionText(report),
        of(check, about) {
          const found = report.verdicts.find(
            (verdict) => verdict.check === check && (about === undefined || verdict.about === about),
          );
          if (found === undefined) throw new Error(`no check named ${check}`);
          return found;
        },
      };
    },
    async close() {
      await agent.close();
      await rm(directory, { recursive: true });
    },
  };
}
