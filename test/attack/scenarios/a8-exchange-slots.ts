/** One user with many tokens, while Entra is slow: the places of exchanges under way. */

import type { Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const ENTRA_MS = 2_000;
const TOKENS = 64;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** The last character of 256 bytes in base64url holds two bits of them; a lax reader ignores the other four. */
export function spellingsOf(token: string): readonly string[] {
  const last = ALPHABET.indexOf(token.at(-1) ?? "");
  const first = last & 0b110000;
  return Array.from({ length: 16 }, (_, bits) => token.slice(0, -1) + ALPHABET[first + bits]);
}

function manyTokens(
  distinctTokens: number,
  spell: (token: string) => readonly string[],
): Pick<Scenario, "prepare" | "attack"> {
  let tokens: readonly string[] = [];
  return {
    // Signing a thousand tokens takes a second, for which Entra would let newcomers wait.
    async prepare({ entra }) {
      await entra.delayTokens(ENTRA_MS);
      const [user = ""] = await entra.addUsers(1);
      // Of the same second and user, but not the same claims: each is a token of its own.
      const wanted = Array.from({ length: distinctTokens }, (_, index) => ({
        user,
        claims: { uti: `attack-${index}` },
      }));
      tokens = (await entra.mintTokens(wanted)).flatMap(spell);
    },
    async attack({ attacker, over }) {
      let next = 0;
      attacker.pump({
        connections: Math.min(tokens.length, 1_024),
        depth: 1,
        request: () => requestOf("/graph/me", bearer(tokens[next++ % tokens.length] ?? "")),
      });
      await over;
      return [];
    },
  };
}

export const a8: readonly Scenario[] = [
  {
    name: "a8-spellings",
    title: `one user: ${TOKENS} tokens in 16 spellings each, while Entra takes ${ENTRA_MS / 1000} s; newcomers need tokens`,
    quick: true,
    newcomersPerSecond: 5,
    ...manyTokens(TOKENS, spellingsOf),
  },
  {
    name: "a8-tokens",
    title: `one user: 1024 different tokens, while Entra takes ${ENTRA_MS / 1000} s; newcomers need tokens`,
    newcomersPerSecond: 5,
    ...manyTokens(1_024, (token) => [token]),
  },
];
