/** `$batch`: bodies that are small as bytes and large as trees, bodies that never end, answers that stay unread. */

import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const MIB = 2 ** 20;
/** What a batch may have. */
const BODY_BYTES = 4 * MIB;
/** More than what stands around a part's body. */
const FRAME_BYTES = 256;

/** A tree of many small things as the body of a part: the batch is what its API may take, and held until it has answered. */
function filled(item: string): string {
  const items = Math.floor((BODY_BYTES - FRAME_BYTES) / (item.length + 1));
  return partWith(`[${Array.from({ length: items }, () => item).join(",")}]`);
}

/** The same where the requests should be. */
function unreadable(): string {
  const items = Math.floor((BODY_BYTES - FRAME_BYTES) / 3);
  return `{"requests":[${Array.from({ length: items }, () => "{}").join(",")}]}`;
}

function partWith(body: string): string {
  return `{"requests":[{"id":"1","method":"POST","url":"/me","headers":{"content-type":"application/json"},"body":${body}}]}`;
}

function nested(): string {
  const depth = Math.floor((BODY_BYTES - FRAME_BYTES) / 2);
  return partWith("[".repeat(depth) + "]".repeat(depth));
}

function posted(connections: number, body: () => string): Attack {
  return async ({ attacker, newToken, over }) => {
    const fields = { ...bearer(newToken()), "content-type": "application/json" };
    const request = requestOf("/graph/$batch", fields, { method: "POST", body: body() });
    attacker.pump({ connections, depth: 1, request: () => request });
    await over;
    return [];
  };
}

function heldBack(path: string, connections: number, bytes: number): Attack {
  return async ({ attacker, newToken, over }) => {
    const fields = { ...bearer(newToken()), "content-type": "application/json" };
    const whole = requestOf(path, fields, { method: "POST", body: Buffer.alloc(bytes, " ") });
    await attacker.hold(connections, "all", () => whole.subarray(0, -1));
    await over;
    return [];
  };
}

const unreadBatches: Attack = async ({ attacker, newToken, over }) => {
  const requests = [{ id: "1", method: "GET", url: `/me/big?bytes=${14 * MIB}` }];
  const fields = { ...bearer(newToken()), "content-type": "application/json" };
  const request = requestOf("/graph/$batch", fields, { method: "POST", body: JSON.stringify({ requests }) });
  await attacker.hold(50, "nothing", () => request);
  await over;
  return [];
};

export const a5: readonly Scenario[] = [
  {
    name: "a5-trees",
    title: "one user: 12 callers post batches of 4 MiB with a part like [{},{},…]",
    quick: true,
    attack: posted(12, () => filled("{}")),
  },
  {
    name: "a5-trees-of-arrays",
    title: "one user: 12 callers post batches of 4 MiB with a part like [[],[],…]",
    attack: posted(12, () => filled("[]")),
  },
  {
    name: "a5-trees-of-requests",
    title: "one user: 12 callers post batches of 4 MiB of a million empty requests",
    attack: posted(12, unreadable),
  },
  {
    name: "a5-nested",
    title: "one user: 12 callers post batches of 4 MiB whose part is arrays in arrays",
    attack: posted(12, nested),
  },
  {
    name: "a5-held-back",
    title: "one user: 150 batches of 4 MiB, each with one byte held back",
    quick: true,
    attack: heldBack("/graph/$batch", 150, BODY_BYTES),
  },
  {
    name: "a5-held-uploads",
    title: "one user: 100 forwarded uploads of 4 MiB, each with one byte held back",
    attack: heldBack("/graph/me/upload", 100, BODY_BYTES),
  },
  {
    name: "a5-unread",
    title: "one user: 50 unread $batch answers of 14 MiB",
    quick: true,
    attack: unreadBatches,
  },
];
