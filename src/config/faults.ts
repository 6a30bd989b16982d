/** Configuration faults in words: a path an editor can find, what is wrong, and the nearest right name. */

import type { z } from "zod";
import type { ConfigurationFault } from "../errors.ts";
import { didYouMean } from "../foundation/did-you-mean.ts";

type Path = readonly PropertyKey[];

/** `["routes", 2, "allow"]` as `routes[2].allow`. */
export function pathOf(path: Path): string {
  return path.reduce<string>(
    (text, key) =>
      typeof key === "number" ? `${text}[${key}]` : text === "" ? String(key) : `${text}.${String(key)}`,
    "",
  );
}

/** Names of the variables and keys around an unknown key come from the JSON Schema, so there is no second list. */
export function faultsOf(
  issues: readonly z.core.$ZodIssue[],
  jsonSchema: Record<string, unknown>,
): ConfigurationFault[] {
  return issues.flatMap((issue) => {
    if (issue.code === "unrecognized_keys") {
      const known = Object.keys(asObject(schemaAt(jsonSchema, issue.path).properties));
      return issue.keys.map((key) => ({
        path: pathOf([...issue.path, key]),
        problem: `unknown key${didYouMean(key, known)}`,
      }));
    }
    if (issue.code === "invalid_value") {
      const allowed = issue.values.map(String);
      const given = typeof issue.input === "string" ? didYouMean(issue.input, allowed) : "";
      return [{ path: pathOf(issue.path), problem: `must be one of ${allowed.join(", ")}${given}` }];
    }
    const path = pathOf(issue.path) || "(file)";
    if (issue.code === "invalid_type")
      return [{ path, problem: wrongType(issue.expected, issue.input, issue.path) }];
    if (issue.code === "too_small" || issue.code === "too_big") return [{ path, problem: outOfRange(issue) }];
    return [{ path, problem: lowerFirst(issue.message) + surroundings(issue.input) }];
  });
}

/** The name of each type in YAML, and how a value of it is written. */
const TYPES: Readonly<Record<string, string>> = {
  array: "a list",
  object: "keys with values",
  record: "keys with values",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  string: "text",
};

function wrongType(expected: string, input: unknown, path: Path): string {
  const wanted = TYPES[expected] ?? expected;
  if (input === undefined || input === null) return `is missing; expected ${wanted}`;
  if (expected === "array" && (typeof input === "string" || typeof input === "number"))
    return `must be a list, also of one value; write it as a list: [${JSON.stringify(input)}]`;
  if (expected === "number" || expected === "int")
    return `must be ${numberOf(path)}${numeralIn(input, path)}`;
  if (expected === "boolean") return `must be true or false, without quotes${meant(input)}`;
  if (expected === "string") return `must be text; put it in quotes: ${JSON.stringify(String(input))}`;
  if (Array.isArray(input))
    return `must be ${wanted}, and is a list; leave out the [ ] or the dash before it`;
  return `must be ${wanted}, such as ${lastOf(path)}: { … }, and is ${TYPES[typeof input] ?? typeof input}`;
}

/** The name of a setting ends in its unit. */
function numberOf(path: Path): string {
  const name = lastOf(path);
  if (/Ms$/.test(name)) return "milliseconds, as a number";
  if (/Seconds$/.test(name)) return "seconds, as a number";
  if (/Bytes$/.test(name)) return "bytes, as a number";
  return "a number";
}

const MS_OF: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const BYTES_OF: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** `; write 10000` for "10s", where what was meant is plain. */
function numeralIn(input: unknown, path: Path): string {
  const [, digits, unit = ""] =
    (typeof input === "string" && /^\s*(\d+)\s*([A-Za-z]*)\s*$/.exec(input)) || [];
  if (digits === undefined) return "";
  const name = lastOf(path);
  const factor =
    unit === ""
      ? 1
      : /Ms$/.test(name)
        ? MS_OF[unit.toLowerCase()]
        : /Seconds$/.test(name)
          ? (MS_OF[unit.toLowerCase()] ?? Number.NaN) / 1_000
          : BYTES_OF[unit.charAt(0).toLowerCase()];
  const meantNumber = factor === undefined ? Number.NaN : Number(digits) * factor;
  return Number.isInteger(meantNumber) ? `; write ${meantNumber}, without quotes and unit` : "";
}

function meant(input: unknown): string {
  if (typeof input !== "string") return "";
  if (/^(?:true|yes|on)$/i.test(input.trim())) return "; write true";
  return /^(?:false|no|off)$/i.test(input.trim()) ? "; write false" : "";
}

type RangeIssue = Extract<z.core.$ZodIssue, { code: "too_small" | "too_big" }>;

function outOfRange(issue: RangeIssue): string {
  const isLow = issue.code === "too_small";
  const bound = issue.code === "too_small" ? issue.minimum : issue.maximum;
  const { origin } = issue;
  // A sentence of the schema explains more than its bounds do.
  if (!/^too (?:small|big)/i.test(issue.message)) return lowerFirst(issue.message);
  if (origin === "array")
    return isLow
      ? `must name at least ${bound}; the list is empty or too short`
      : `must name at most ${bound}`;
  const but =
    issue.inclusive === false ? (isLow ? "more than" : "less than") : isLow ? "at least" : "at most";
  return `must be ${but} ${bound}`;
}

/** Blanks and quotes around a value are hard to see, and are part of it. */
function surroundings(input: unknown): string {
  if (typeof input !== "string") return "";
  if (input !== input.trim()) return "; it begins or ends with a blank or a line break";
  if (/^(["']).*\1$/s.test(input)) return "; it has quotes around it, which are part of the value";
  return "";
}

function lastOf(path: Path): string {
  const names = path.filter((part) => typeof part === "string");
  return names.at(-1) ?? "";
}

function schemaAt(root: Record<string, unknown>, path: Path): Record<string, unknown> {
  return path.reduce<Record<string, unknown>>((schema, key) => {
    if (typeof key === "number") return asObject(schema.items);
    const properties = asObject(schema.properties);
    return asObject(String(key) in properties ? properties[String(key)] : schema.additionalProperties);
  }, root);
}

function asObject(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
