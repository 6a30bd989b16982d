/** What the Dockerfile promises about the image, read from its text. */

interface Instruction {
  readonly keyword: string;
  readonly rest: string;
}

interface Stage {
  readonly name: string;
  readonly from: string;
  readonly instructions: readonly Instruction[];
}

/** One sentence for each promise that is not kept. `ignore` is the text of .dockerignore. */
export function dockerfileFaults(text: string, ignore: string): string[] {
  const { preamble, stages } = parse(text);
  const production = stages.at(-1);
  if (production?.name !== "production")
    return ["the last stage, which is built by default, is not production"];
  return [
    ...baseFaults(preamble, stages),
    ...installFaults(stages),
    ...contextFaults(stages, ignore),
    ...productionFaults(production),
  ];
}

function baseFaults(preamble: readonly Instruction[], stages: readonly Stage[]): string[] {
  const faults: string[] = [];
  if (!preamble.some(({ keyword, rest }) => keyword === "ARG" && /^NODE_IMAGE=node:24[\w.-]*$/.test(rest)))
    faults.push("NODE_IMAGE has no default of Node 24 before the first stage");
  const names = stages.map(({ name }) => name);
  for (const { from } of stages)
    if (from !== "${NODE_IMAGE}" && from !== "scratch" && !names.includes(from))
      faults.push(`the base ${from} cannot be exchanged`);
  return faults;
}

/** Follows the dependencies that reach the image back to the command that installed them. */
function installFaults(stages: readonly Stage[]): string[] {
  const runs = (stage: Stage) => allOf(stage, "RUN").filter((command) => command.includes("npm "));
  const faults: string[] = [];
  if (stages.flatMap(runs).some((command) => /npm (?:install|i)\b/.test(command)))
    faults.push("an install may differ from the lockfile");
  const sources = allOf(stages.at(-1) as Stage, "COPY").filter((copy) => copy.includes("node_modules"));
  const origins = sources.map((copy) => stages.find(({ name }) => copy.includes(`--from=${name} `)));
  if (origins.length !== 1)
    faults.push("the image's dependencies come from more than one place, or from none");
  for (const origin of origins)
    if (!origin || !runs(origin).every((command) => command.includes("--omit=dev")))
      faults.push("development dependencies reach the image");
    else if (!runs(origin).every((command) => command.includes("--ignore-scripts")))
      faults.push("install scripts of dependencies run");
  return faults;
}

function contextFaults(stages: readonly Stage[], ignore: string): string[] {
  const lines = ignore.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const faults: string[] = [];
  if (lines[0] !== "*") faults.push("the build sees files that were not named");
  const copied = stages.flatMap((stage) => allOf(stage, "COPY")).filter((copy) => !copy.includes("--from="));
  for (const source of copied.flatMap((copy) => copy.split(/\s+/).slice(0, -1)))
    if (!lines.includes(`!${source}`)) faults.push(`${source} is copied but ignored`);
  return faults;
}

function productionFaults(stage: Stage): string[] {
  const faults: string[] = [];
  if (stage.from !== "scratch") faults.push("the image keeps the shell and the packages of its base");
  const user = allOf(stage, "USER").at(-1) ?? "";
  if (!/^[1-9]\d*:[1-9]\d*$/.test(user)) faults.push("the user is root or not a number");
  if (allOf(stage, "COPY").some((copy) => !copy.includes("--from=")))
    faults.push("files come past the build");
  if (allOf(stage, "RUN").length > 0) faults.push("commands run in the image itself");
  const [command = ""] = allOf(stage, "CMD");
  if (command !== '["node", "dist/main.js"]' || allOf(stage, "ENTRYPOINT").length > 0)
    faults.push("something stands between the runtime's signals and node");
  if (allOf(stage, "EXPOSE").join(" ") !== "8080 8081") faults.push("the ports are not the documented ones");
  const environment = allOf(stage, "ENV").join(" ").split(/\s+/);
  for (const setting of ["NODE_ENV=production", "HOST=::", "NODE_OPTIONS=--max-old-space-size-percentage=75"])
    if (!environment.includes(setting)) faults.push(`${setting} is not set`);
  return faults;
}

const allOf = ({ instructions }: Stage, keyword: string): string[] =>
  instructions.filter((instruction) => instruction.keyword === keyword).map(({ rest }) => rest);

function parse(text: string): { preamble: Instruction[]; stages: Stage[] } {
  const lines = text
    .split("\n")
    .filter((line) => !/^\s*(?:#|$)/.test(line))
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n");
  const preamble: Instruction[] = [];
  const stages: (Stage & { instructions: Instruction[] })[] = [];
  for (const line of lines) {
    const [, keyword = "", rest = ""] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (keyword === "") throw new Error(`not an instruction: ${line}`);
    const stage = stages.at(-1);
    if (keyword === "FROM") {
      const [from = "", , name = ""] = rest.split(/\s+/);
      stages.push({ name, from, instructions: [] });
    } else (stage?.instructions ?? preamble).push({ keyword, rest });
  }
  return { preamble, stages };
}
