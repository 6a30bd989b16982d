/** JSON from outside, where only an object is of use. */

export type JsonObject = Readonly<Record<string, unknown>>;

/** The object that `text` spells, or undefined for anything else: other JSON, or no JSON at all. */
export function parseJsonObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
