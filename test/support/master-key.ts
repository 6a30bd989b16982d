/** Keys with which what replicas share is sealed, made for one run. */

import { randomBytes } from "node:crypto";
import { Secret } from "../../src/foundation/secret.ts";

export const newMasterKey = () => new Secret(randomBytes(32).toString("base64"));
