/** Subcommands, their options and help texts. Each one's code is loaded when it is called. */

import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { ConfigurationError } from "../errors.ts";

/** Arguments or configuration cannot be read. */
const EXIT_UNREADABLE = 2;

/** Ends by setting the exit code, so that what was printed reaches its pipe. */
export async function runProgram(args: readonly string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_UNREADABLE;
    else if (error instanceof ConfigurationError) {
      for (const { path, problem } of error.faults) console.error(`${path}: ${problem}`);
      process.exitCode = EXIT_UNREADABLE;
    } else throw error;
  }
}

function createProgram(): Command {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const program = new Command("obo-gateway")
    .description(
      "A gateway that calls APIs on behalf of its callers, by Microsoft Entra's on-behalf-of flow.",
    )
    .exitOverride()
    .version(version, "-V, --version")
    .showHelpAfterError("(add --help for the options)");

  const command = (name: string, description: string) => {
    const made = program.command(name).description(description).version(version, "-V, --version");
    // `--version` of a subcommand is an event of its own in the parser, and reads as an unknown option without it.
    return made.exitOverride().showHelpAfterError("(add --help for the options)");
  };
  const config = () =>
    new Option("-c, --config <file>", "gateway.yaml; default: GATEWAY_CONFIG, or config/gateway.yaml");
  const json = () => new Option("--json", "print one JSON document instead of text");

  command("start", "run the gateway that gateway.yaml and the environment describe")
    .addOption(config())
    .option("--watch", "for development: start again when code beside GATEWAY_HANDLERS or .env changes")
    .action(async ({ config: file, watch }) => {
      if (watch) return (await import("./watch.ts")).startWatching({ config: file });
      if (file !== undefined) process.env.GATEWAY_CONFIG = file;
      const { runGateway } = await import("../run.ts");
      await runGateway();
    });

  command("check", "report every fault of the configuration; exit 0 when it has none, else 2")
    .addOption(config())
    .addOption(json())
    .action(async (options) => (await import("./check.ts")).check(options));

  command("routes", "list every route: path, methods, who may call, API, scopes, limits, what it opens")
    .addOption(config())
    .addOption(json())
    .action(async (options) => (await import("./routes.ts")).routes(options));

  command(
    "permissions",
    "list the least delegated permission of each route, what is missing and what is unused",
  )
    .addOption(config())
    .addOption(json())
    .option("--table <file>", "Graph's table or the compact form; default: PERMISSIONS_TABLE")
    .option("--granted <scopes>", "delegated permissions of the registration, separated by blanks or commas")
    .option(
      "--observed [url]",
      "report what a running gateway was called for and granted; default: the admin port of the configuration",
    )
    .option("--write-compact <file>", "write the table in the compact form, and end")
    .option("--az", "print the az commands that add what is missing")
    .option("--bicep", "print requiredResourceAccess in Bicep")
    .option("--consent", "print the address at which an administrator consents")
    .action(async (options) => (await import("./permissions.ts")).permissions(options));

  command("openapi", "print an OpenAPI 3.1 description of what this configuration exposes")
    .addOption(config())
    .option("--server <url>", "address of the gateway; default: http.publicUrl")
    .action(async (options) => (await import("./openapi.ts")).openapi(options));

  command(
    "doctor",
    "check everything that must be right before the gateway works; doctor --help lists its options",
  )
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options, made: Command) => (await import("../doctor/command.ts")).runDoctor(made.args));

  command("init", "write gateway.yaml, .env and compose.yaml; never overwrites a file")
    .option("--directory <directory>", "where to write", ".")
    .option("--tenant <id>", "directory (tenant) id")
    .option("--client <id>", "application (client) id")
    .addOption(
      new Option("--credential <kind>", "how the gateway proves itself").choices([
        "workload-identity",
        "certificate",
        "client-secret",
      ]),
    )
    .addOption(json())
    .action(async (options) => (await import("./init.ts")).init(options));

  command(
    "emulator",
    "run Entra, a Kubernetes issuer and Graph on loopback; emulator --help lists its options",
  )
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options, made: Command) => {
      const { loadEmulator } = await import("./testing-code.ts");
      await (await loadEmulator()).runEmulator(made.args);
    });

  command("token", "print a user token of a running emulator, for the gateway")
    .option("--control <url>", "control address of the emulator", "http://127.0.0.1:8446")
    .option("--user <name>", "ada, grace, edsger or linus", "ada")
    .option("--scopes <scopes>", "scopes of the token, separated by blanks or commas")
    .option("--cp1", "the client handles claims challenges")
    .addOption(json())
    .action(async (options) => (await import("./token.ts")).token(options));

  return program;
}
