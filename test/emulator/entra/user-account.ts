/** Whether an account may use the application at this moment. */

import type { User } from "../handle.ts";
import type { Directory } from "./directory.ts";
import { EntraRefusal } from "./refusal.ts";

/** @throws {EntraRefusal} for an account that is gone, disabled or not assigned. */
export function checkAccount(
  directory: Directory,
  account: { readonly userObjectId: unknown; readonly tenantId: string },
): User {
  const user = directory.findUser(account.userObjectId, account.tenantId);
  if (user === undefined) throw new EntraRefusal(50034);
  if (directory.disabledUsers.has(user.objectId)) throw new EntraRefusal(50057);
  if (directory.unassignedUsers.has(user.objectId)) throw new EntraRefusal(50105);
  return user;
}
