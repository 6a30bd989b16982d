#!/usr/bin/env node
/** The command `obo-gateway`: `start` loads the gateway and nothing besides, every other subcommand its own part. */

const args = process.argv.slice(2);

// A parser of arguments costs time before the first request, and this call has none to parse.
if (args.length === 1 && args[0] === "start") {
  const { runGateway } = await import("../run.ts");
  await runGateway();
} else {
  const { runProgram } = await import("./program.ts");
  await runProgram(args);
}
