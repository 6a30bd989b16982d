/** Tokens that look right until their signature is checked: each costs a verification. */

import { randomBytes } from "node:crypto";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const CONNECTIONS = 32;
const SIGNATURE_BYTES = 256;

type Forge = (template: string) => string;

/** The right key, users of all kinds, and a signature of noise. */
const forgeSignature: Forge = (template) => {
  const [head, payload] = template.split(".");
  // Below any modulus, or it would be refused for its size alone.
  const signature = randomBytes(SIGNATURE_BYTES);
  signature[0] = 0;
  return `${head}.${payload}.${signature.toString("base64url")}`;
};

/** Claims of another user in each. */
const forgeUser: Forge = (template) => {
  const [head, payload = ""] = template.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  const forged = { ...claims, oid: crypto.randomUUID(), sub: crypto.randomUUID() };
  return forgeSignature(`${head}.${Buffer.from(JSON.stringify(forged)).toString("base64url")}.`);
};

/** As long as a token may be. */
const forgeLong: Forge = (template) => {
  const [head, payload = ""] = template.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  const forged = { ...claims, groups: Array.from({ length: 300 }, () => crypto.randomUUID()) };
  return forgeSignature(`${head}.${Buffer.from(JSON.stringify(forged)).toString("base64url")}.`);
};

function flood(forge: Forge): Attack {
  return async ({ attacker, newToken, over }) => {
    const template = newToken();
    attacker.pump({
      connections: CONNECTIONS,
      depth: 4,
      request: () => requestOf("/graph/me", bearer(forge(template))),
    });
    await over;
    return [];
  };
}

export const garbageTokens: readonly Scenario[] = [
  {
    name: "garbage-signatures",
    title: `${CONNECTIONS} connections: tokens of one user under the right key with signatures of noise`,
    quick: true,
    attack: flood(forgeSignature),
  },
  {
    name: "garbage-users",
    title: `${CONNECTIONS} connections: tokens of as many users under the right key with signatures of noise`,
    attack: flood(forgeUser),
  },
  {
    name: "garbage-long",
    title: `${CONNECTIONS} connections: tokens of 16 KB under the right key with signatures of noise`,
    attack: flood(forgeLong),
  },
];
