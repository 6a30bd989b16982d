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
    if (issue.code === "invalid_type" && issue.input === undefined)
      return [{ path: pathOf(issue.path) || "(file)", problem: `is missing; expected ${issue.expected}` }];
    return [{ path: pathOf(issue.path) || "(file)", problem: lowerFirst(issue.message) }];
  });
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
