/** The doctor as a command: arguments, environment and exit codes. 0 the gateway would work, 1 it would not, 2 configuration or arguments cannot be read. */

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { withDotEnv } from "../config/load.ts";
import { Secret } from "../foundation/secret.ts";
import { type DoctorOptions, diagnose } from "./diagnose.ts";
import { conclusionText, verdictText } from "./print.ts";
import { CHECK_NAMES, type CheckName } from "./verdict.ts";

const USAGE = `obo-gateway doctor [options]      (npm run doctor -- [options])

Reads the configuration as obo-gateway start does, and checks everything that has to be right before the gateway can serve requests.

  -c, --config FILE         gateway.yaml; default: GATEWAY_CONFIG, or config/gateway.yaml
  --json                    print one JSON document instead of text
  --token-file FILE         a user's access token for the gateway: verify it, and exchange it for each API
  --expect-issuer TEXT      the federated credential as registered, to compare the federated
  --expect-subject TEXT     token with, byte for byte
  --expect-audience TEXT
  --skip NAME               leave a check out; may be repeated (--skip ports beside a running gateway)

Exit status: 0 the gateway would work, 1 a fault was found, 2 configuration or arguments cannot be read.
`;

/** A token of a user in 200 groups has up to 24 KiB; more is another file. */
const MAX_TOKEN_FILE_BYTES = 64 * 1024;

/** @param args What follows the name of the command. */
export async function runDoctor(args: readonly string[]): Promise<void> {
  const read = readArguments(args);
  if ("problem" in read) {
    console.error(`${read.problem}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  if (read.help) {
    console.log(USAGE);
    return;
  }
  const { config } = read;
  const environment = () => ({
    ...withDotEnv(process.env),
    ...(config !== undefined && { GATEWAY_CONFIG: config }),
  });
  const report = await diagnose(environment, {
    ...read.options,
    ...(!read.json && { onVerdict: (verdict) => console.log(verdictText(verdict)) }),
  });
  console.log(read.json ? JSON.stringify(report, null, 2) : `\n${conclusionText(report)}`);
  process.exitCode = !report.configured ? 2 : report.works ? 0 : 1;
}

interface Arguments {
  readonly help: boolean;
  readonly json: boolean;
  readonly config: string | undefined;
  readonly options: DoctorOptions;
}

function readArguments(args: readonly string[]): Arguments | { readonly problem: string } {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        json: { type: "boolean", default: false },
        config: { type: "string", short: "c" },
        "token-file": { type: "string" },
        "expect-issuer": { type: "string" },
        "expect-subject": { type: "string" },
        "expect-audience": { type: "string" },
        skip: { type: "string", multiple: true, default: [] },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    const {
      "expect-issuer": issuer,
      "expect-subject": subject,
      "expect-audience": audience,
      "token-file": tokenFile,
    } = values;
    const expected = {
      ...(issuer !== undefined && { issuer }),
      ...(subject !== undefined && { subject }),
      ...(audience !== undefined && { audience }),
    };
    const isName = (text: string): text is CheckName => CHECK_NAMES.some((name) => name === text);
    const unknown = values.skip.find((name) => !isName(name));
    if (unknown !== undefined)
      return { problem: `no check is named ${unknown}; there are ${CHECK_NAMES.join(", ")}` };
    const userToken = tokenFile === undefined ? undefined : readToken(tokenFile);
    return {
      help: values.help,
      json: values.json,
      config: values.config,
      options: { expected, userToken, skip: values.skip.filter(isName) },
    };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : "the arguments cannot be read" };
  }
}

function readToken(path: string): Secret {
  const text = readFileSync(path, "utf8").trim();
  if (text === "" || text.length > MAX_TOKEN_FILE_BYTES) throw new Error(`${path} does not hold a token`);
  // As copied from a browser's network panel.
  return new Secret(text.replace(/^Bearer\s+/i, ""));
}
