/** Documents that a user stored in the API, made to cost the link rewriter as much as can be. */

import type { HostileKind } from "../hostile-documents.ts";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const CALLERS = 5;
const MIB = 2 ** 20;
const PUBLIC = { http: { publicUrl: "https://gateway.example" } };

interface Document {
  readonly kind: HostileKind;
  readonly bytes?: number;
  /** Bytes of each write of the API. */
  readonly split?: number;
  readonly host?: string;
}

/** One user, whose callers ask for the document again as soon as they have it. */
function fetched({ kind, bytes = 3 * MIB, split, host = "gateway.test" }: Document): Attack {
  return async ({ attacker, newToken, over }) => {
    const path = `/graph/me/links?kind=${kind}&bytes=${bytes}${split === undefined ? "" : `&split=${split}`}`;
    const request = requestOf(path, { ...bearer(newToken()), host });
    attacker.pump({ connections: CALLERS, depth: 1, request: () => request });
    await over;
    return [];
  };
}

const inBatch: Attack = async ({ attacker, newToken, over }) => {
  const requests = [{ id: "1", method: "GET", url: `/me/links?kind=values&bytes=${2 * MIB}` }];
  const request = requestOf(
    "/graph/$batch",
    { ...bearer(newToken()), "content-type": "application/json" },
    { method: "POST", body: JSON.stringify({ requests }) },
  );
  attacker.pump({ connections: CALLERS, depth: 1, request: () => request });
  await over;
  return [];
};

export const a3: readonly Scenario[] = [
  {
    name: "a3-values",
    title: `one user: ${CALLERS} callers fetch 3 MiB of "@odata.nextLink" as values`,
    quick: true,
    settings: PUBLIC,
    attack: fetched({ kind: "values" }),
  },
  {
    name: "a3-localhost",
    title: "the same with Host: localhost and no publicUrl",
    attack: fetched({ kind: "values", host: "localhost" }),
  },
  {
    name: "a3-batch",
    title: `one user: ${CALLERS} callers fetch 2 MiB of them as a part of a $batch`,
    quick: true,
    settings: PUBLIC,
    attack: inBatch,
  },
  {
    name: "a3-prefixes",
    title: `one user: ${CALLERS} callers fetch 3 MiB of names that are almost links`,
    settings: PUBLIC,
    attack: fetched({ kind: "prefixes" }),
  },
  {
    name: "a3-escapes",
    title: `one user: ${CALLERS} callers fetch 3 MiB of links full of escapes`,
    settings: PUBLIC,
    attack: fetched({ kind: "escapes" }),
  },
  {
    name: "a3-long-links",
    title: `one user: ${CALLERS} callers fetch 3 MiB of links that are too long`,
    settings: PUBLIC,
    attack: fetched({ kind: "longLinks" }),
  },
  {
    name: "a3-blanks",
    title: `one user: ${CALLERS} callers fetch 3 MiB of names with 16 KB of blanks behind`,
    settings: PUBLIC,
    attack: fetched({ kind: "blanks" }),
  },
  {
    name: "a3-colons",
    title: `one user: ${CALLERS} callers fetch 3 MiB of link members without links`,
    settings: PUBLIC,
    attack: fetched({ kind: "colons" }),
  },
  {
    name: "a3-quotes",
    title: `one user: ${CALLERS} callers fetch 3 MiB of empty strings`,
    settings: PUBLIC,
    attack: fetched({ kind: "quotes" }),
  },
  {
    name: "a3-splits",
    title: `one user: ${CALLERS} callers fetch 512 KiB of "@odata.nextLink" in writes of 61 bytes`,
    settings: PUBLIC,
    attack: fetched({ kind: "values", bytes: MIB / 2, split: 61 }),
  },
];
