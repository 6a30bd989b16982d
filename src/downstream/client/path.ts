/** Paths as route handlers write them, turned into request-targets that stay below an API's base URL. */

import { GatewayError } from "../../errors.ts";
import type { DownstreamPath, DownstreamQuery } from "../contract.ts";
import { type EncodedSlashes, readRequestTarget } from "../target/request-target.ts";

/**
 * The path and the query below the base.
 *
 * @throws {GatewayError} `request_malformed` or `target_forbidden` for a path that could be read in two ways.
 */
export function readClientPath(
  path: DownstreamPath,
  query: DownstreamQuery | undefined,
  encodedSlashes: EncodedSlashes,
): { readonly path: string; readonly query: string } {
  const { rawSegments, query: written } = readRequestTarget(
    typeof path === "string" ? path : `/${path.map(encodeSegment).join("/")}`,
    encodedSlashes,
  );
  const added = Object.entries(query ?? {}).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [`${encodeURIComponent(name).replaceAll("%24", "$")}=${encodeURIComponent(value)}`],
  );
  return {
    path: `/${rawSegments.join("/")}`,
    query: added.length === 0 ? written : `${written}${written === "" ? "?" : "&"}${added.join("&")}`,
  };
}

/** An empty id would turn the path of one thing into the path of all of them. */
function encodeSegment(segment: string): string {
  if (segment !== "") return encodeURIComponent(segment);
  throw new GatewayError("target_forbidden", {
    detail: "A segment of the path is empty.",
    reason: "empty_segment",
  });
}
