/** Handles: demands on a user, sealed, as scopes that clients carry from a challenge to their next sign-in. */

import { createHash } from "node:crypto";
import { isJsonObject, type JsonObject, parseJsonObject } from "../../foundation/json.ts";
import type { Demand } from "../contract.ts";
import { type Met, readMet, stillMet } from "./met.ts";
import { OAuthRefusal } from "./oauth.ts";
import type { Seal } from "./seals.ts";

export interface Handle {
  readonly demand: Demand;
  /** Demands that the sign-in behind the challenged token had met a moment before. */
  readonly met: readonly Met[];
  readonly tenantId: string;
  readonly objectId: string;
  /** End of use, seconds since the epoch. */
  readonly expiresAt: number;
  /** Tells a repeated handle from one for the same demand that has led to a sign-in. */
  readonly turn: number;
}

export interface OpenedHandle extends Handle {
  /** Short name of the handle, for notes about its use. */
  readonly id: string;
}

export interface Handles {
  /** As a scope. The same handle within one minute gives the same scope, by which clients notice that they go in a circle. */
  scopeOf(handle: Omit<Handle, "expiresAt">, now: number): { readonly scope: string; readonly id: string };
  /**
   * The newest handle among the scopes that is still good. Clients unite the scopes of several challenges, so older ones
   * may stand beside it. Undefined where none is named, or only leftovers of long ago.
   *
   * @param isUsed Whether the handle has led to a sign-in already.
   * @throws {OAuthRefusal} `invalid_scope` where handles are named and none of them is good.
   */
  newest(
    scopes: readonly string[],
    now: number,
    isUsed: (id: string) => Promise<boolean>,
  ): Promise<OpenedHandle | undefined>;
}

export const HANDLE_SCOPE = "urn:obo-gateway:claims:";

/** How long a handle is good, at most. */
const LIFE_SECONDS = 600;
/** The end is a whole minute. */
const STEP_SECONDS = 60;
/** So long after its end a handle is a leftover in a client's collected scopes, and no attempt to use it. */
const LEFTOVER_SECONDS = 3_600;
/** Handles of one request that are looked at. */
const MOST_HANDLES = 64;

export function createHandles(seal: Seal): Handles {
  function open(scope: string): OpenedHandle | undefined {
    const sealed = scope.slice(HANDLE_SCOPE.length);
    const text = seal.open(sealed);
    const handle = text === undefined ? undefined : readHandle(parseJsonObject(text));
    return handle && { ...handle, id: idOf(sealed) };
  }

  return {
    scopeOf({ demand, met, tenantId, objectId, turn }, now) {
      const seconds = Math.floor(now / 1000);
      const expiresAt = seconds - (seconds % STEP_SECONDS) + LIFE_SECONDS;
      const sealed = seal.seal(
        JSON.stringify({
          k: demand.kind,
          ...(demand.kind === "claims" && { c: demand.claims }),
          ...(demand.kind === "scope" && { c: demand.scope }),
          t: tenantId,
          o: objectId,
          e: expiresAt,
          n: turn,
          ...(met.length > 0 && { m: met }),
        }),
      );
      return { scope: HANDLE_SCOPE + sealed, id: idOf(sealed) };
    },

    async newest(scopes, now, isUsed) {
      const named = scopes.filter((scope) => /^urn:/i.test(scope));
      if (named.length === 0) return undefined;
      if (named.length > MOST_HANDLES) throw refused("handle_many", "The request names too many handles.");
      const opened = named.map((scope) => (scope.startsWith(HANDLE_SCOPE) ? open(scope) : undefined));
      const authentic = opened
        .filter((handle) => handle !== undefined)
        .toSorted((one, other) => other.expiresAt - one.expiresAt || other.turn - one.turn);
      const seconds = now / 1000;
      const [newest] = authentic.filter(({ expiresAt }) => expiresAt > seconds);
      if (newest !== undefined) {
        if (await isUsed(newest.id))
          throw refused("handle_used", "This request to sign in was met already. Call the server again.");
        return newest;
      }
      const isLeftover = (handle: OpenedHandle | undefined) =>
        handle !== undefined && handle.expiresAt + LEFTOVER_SECONDS <= seconds;
      if (opened.every(isLeftover)) return undefined;
      if (authentic.length === 0)
        throw refused("handle_unreadable", "The scope holds a handle that is not of this gateway.");
      throw refused(
        "handle_expired",
        "The time to meet this request to sign in is over. Call the server again.",
      );
    },
  };
}

function refused(reason: string, description: string): OAuthRefusal {
  return new OAuthRefusal("invalid_scope", reason, description);
}

function idOf(sealed: string): string {
  return createHash("sha256").update(sealed).digest("base64url").slice(0, 22);
}

function readHandle(value: JsonObject | undefined): Handle | undefined {
  if (value === undefined) return undefined;
  const { k, c, t, o, e, n, m } = value;
  const demand = demandOf(k, c);
  if (demand === undefined || typeof t !== "string" || typeof o !== "string") return undefined;
  if (typeof e !== "number" || typeof n !== "number") return undefined;
  return { demand, tenantId: t, objectId: o, expiresAt: e, turn: n, met: readMet(m) };
}

function demandOf(kind: unknown, content: unknown): Demand | undefined {
  if (kind === "claims") return typeof content === "string" ? { kind, claims: content } : undefined;
  if (kind === "scope") return typeof content === "string" ? { kind, scope: content } : undefined;
  return kind === "consent" || kind === "login" ? { kind } : undefined;
}

/**
 * By which the same demand is known again. A time after which a token must have been issued (`nbf`, continuous access
 * evaluation) differs each time that the API asks, and is the same demand.
 */
export function digestOf(demand: Demand): string {
  return createHash("sha256").update(textOf(demand)).digest("base64url").slice(0, 22);
}

function textOf(demand: Demand): string {
  if (demand.kind === "claims") return `claims ${withoutTimes(demand.claims)}`;
  return demand.kind === "scope" ? `scope ${demand.scope}` : demand.kind;
}

function withoutTimes(claims: string): string {
  const parsed = parseJsonObject(claims);
  return parsed === undefined ? claims : JSON.stringify(sorted(parsed));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .toSorted()
      .map((name) => [name, name === "nbf" ? "any" : sorted(value[name])]),
  );
}

/** What a sign-in with a handle is known by at its end: the `nonce` that Entra repeats in the ID token. */
export interface SignIn {
  readonly handleId: string;
  readonly tenantId: string;
  readonly objectId: string;
  /** Digests of the demands that the sign-in meets: the handle's, and those that were met a moment before. */
  readonly demands: readonly Met[];
}

export interface SignIns {
  nonceOf(handle: OpenedHandle, now: number): string;
  open(nonce: unknown): SignIn | undefined;
}

export function createSignIns(seal: Seal): SignIns {
  return {
    nonceOf({ demand, met, id, tenantId, objectId }, now) {
      const demands = [...stillMet(met, now), { demand: digestOf(demand), at: now }];
      return seal.seal(JSON.stringify({ i: id, t: tenantId, o: objectId, m: demands }));
    },
    open(nonce) {
      const text = typeof nonce === "string" ? seal.open(nonce) : undefined;
      const value = text === undefined ? undefined : parseJsonObject(text);
      if (value === undefined) return undefined;
      const { i, t, o, m } = value;
      if (typeof i !== "string" || typeof t !== "string" || typeof o !== "string") return undefined;
      return { handleId: i, tenantId: t, objectId: o, demands: readMet(m) };
    },
  };
}
