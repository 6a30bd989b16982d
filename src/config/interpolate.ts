/** `${NAME}` and `${NAME:-default}` in parsed YAML, so that a variable's value can never change the file's structure. */

import type { ConfigurationFault } from "../errors.ts";
import { pathOf } from "./faults.ts";

const REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g;
const WHOLE_REFERENCE = /^\$\{[^}]*\}$/;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Replaces references in every string of `value`. A scalar that is nothing but one reference may become a number
 * or a boolean, so `timeoutMs: ${TIMEOUT:-5000}` works. An empty variable counts as unset, as in a shell's `:-`.
 */
export function interpolate(value: unknown, env: Environment, faults: ConfigurationFault[]): unknown {
  return walk(value, []);

  function walk(node: unknown, path: readonly (string | number)[]): unknown {
    if (typeof node === "string") return replace(node, path);
    if (Array.isArray(node)) return node.map((item, index) => walk(item, [...path, index]));
    if (node !== null && typeof node === "object")
      return Object.fromEntries(Object.entries(node).map(([key, item]) => [key, walk(item, [...path, key])]));
    return node;
  }

  function replace(text: string, path: readonly (string | number)[]): unknown {
    const replaced = text.replace(REFERENCE, (_, name: string, fallback: string | undefined) => {
      const found = env[name] || fallback;
      if (found === undefined) {
        faults.push({
          path: pathOf(path),
          problem: `the environment variable ${name} is not set; set it or write \${${name}:-default}`,
        });
        return "";
      }
      return found;
    });
    if (!WHOLE_REFERENCE.test(text)) return replaced;
    if (/^-?\d{1,15}$/.test(replaced)) return Number(replaced);
    if (replaced === "true" || replaced === "false") return replaced === "true";
    return replaced;
  }
}
