/** Reads the file that `PERMISSIONS_TABLE` names. */

import { readFileSync } from "node:fs";
import { ConfigurationError } from "../errors.ts";
import { type PermissionTable, readPermissionTable } from "./table.ts";

/** @throws {ConfigurationError} when the file cannot be read or has neither form. */
export function readTableFile(file: string): PermissionTable {
  try {
    return readPermissionTable(JSON.parse(readFileSync(file, "utf8").replace(/^\ufeff/, "")));
  } catch (cause) {
    const problem = `${file} cannot be read: ${cause instanceof Error ? cause.message : cause}`;
    throw new ConfigurationError([{ path: "PERMISSIONS_TABLE", problem }], { cause });
  }
}
