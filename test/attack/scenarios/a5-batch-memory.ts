/** `$batch`: bodies that are small as bytes and large as trees, bodies that never end, answers that nobody reads. */

import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const MIB = 2 ** 20;
/** What a batch may have. */
const BODY_BYTES = 4 * MIB;
const FRAME_BYTES = '{"requests":[]}'.length;

function filled(item: string): string {
  const items = Math.floor((BODY_BYTES - FRAME_BYTES) / (item.length + 1));
  return `{"requests":[${Array.from({ length: items }, () => item).join(",")}]}`;
}

function nested(): string {
  const depth = Math.floor((BODY_BYTES - 200) / 2);
  const body = "[".repeat(depth) + "]".repeat(depth);
  return `{"requests":[{"id":"1","method":"POST","url":"/me","headers":{"content-type":"application/json"},"body":${body}}]}`;
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
    title: "one user: 8 callers post batches of 4 MiB like [{},{},…]",
    quick: true,
    attack: posted(8, () => filled("{}")),
  },
  {
    name: "a5-trees-of-arrays",
    title: "one user: 8 callers post batches of 4 MiB like [[],[],…]",
    attack: posted(8, () => filled("[]")),
  },
  {
    name: "a5-nested",
    title: "one user: 8 callers post batches of 4 MiB whose part is arrays in arrays",
    attack: posted(8, nested),
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
