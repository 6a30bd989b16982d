/** On whose account a request holds places and memory. */

import type { Owner } from "../../foundation/budget.ts";
import type { TransferRecord } from "../contract.ts";

let unowned = 0;

/** A request of no known caller is an owner by itself: no share holds for it, and the process's bounds do. */
export function ownerOf(record: TransferRecord | undefined): Owner {
  if (record?.owner !== undefined) return record.owner;
  unowned += 1;
  return { user: `#${unowned}`, client: `#${unowned}` };
}
