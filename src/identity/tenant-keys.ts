/** Tenant keys: the key set of each accepted tenant and token version, and the key that may sign a given token. */

import type { KeyObject } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Authority, Principal } from "./contract.ts";
import { createKeySet, type KeySet, type KeySetOptions } from "./key-set.ts";
import { tokenRejected } from "./rejection.ts";

/** Pause between two rounds of warm-up, ms. */
const WARM_UP_PAUSE_MS = 1_000;

type TokenOrigin = Pick<Principal, "tenantId" | "tokenVersion" | "clientId" | "objectId">;

export interface TenantKeysOptions
  extends Pick<KeySetOptions, "fetch" | "now" | "schedule" | "timings" | "onChange" | "onEvent"> {
  readonly authority: Authority;
  /** Tenant ids, or `*` alone for any. */
  readonly tenants: readonly string[];
}

export interface TenantKeys {
  /**
   * The key with this id, if the authority lets it sign tokens of this tenant and version.
   *
   * @throws {GatewayError} `token_rejected`, or `key_set_unavailable` when that cannot be known.
   */
  find(keyId: string, origin: TokenOrigin): Promise<KeyObject>;
  ready(): boolean;
  warmUp(signal?: AbortSignal): Promise<void>;
  close(): void;
}

/**
 * One key set for each listed tenant and token version, made when a token first needs it: an API's registration
 * decides which version its tokens have, so the other one's keys are usually never read. With `*` the documents of
 * `common` serve every tenant. Either way configuration bounds the number of sets; tokens cannot raise it.
 */
export function createTenantKeys(options: TenantKeysOptions): TenantKeys {
  const { authority } = options;
  const anyTenant = options.tenants.includes("*");
  const closing = new AbortController();
  const keySets = new Map<string, KeySet>();

  function keySetFor({ tenantId, tokenVersion }: Pick<TokenOrigin, "tenantId" | "tokenVersion">): KeySet {
    const tenant = anyTenant ? "common" : tenantId;
    const name = `${tenant} v${tokenVersion}`;
    const existing = keySets.get(name);
    if (existing !== undefined) return existing;
    const { fetch, now, schedule, timings, onChange, onEvent, authority } = options;
    const created = createKeySet({
      name,
      metadataUrl: authority.metadataUrl(tenant, tokenVersion),
      issuers: authority.issuers(anyTenant ? "{tenantid}" : tenantId, tokenVersion),
      isTrusted: (url) => authority.isTrusted(url, tenant),
      onDiscovered: (discovered) => authority.learn(tenant, tokenVersion, discovered),
      cloudInstanceName: authority.cloudInstanceName,
      fetch,
      now,
      schedule,
      timings,
      onChange,
      onEvent,
    });
    keySets.set(name, created);
    return created;
  }

  /** Version 2.0 sets of all tenants: those that there is no reason to wait with. */
  const initial = options.tenants.map((tenant) =>
    keySetFor({ tenantId: tenant.toLowerCase(), tokenVersion: "2.0" }),
  );

  // One is enough: a tenant that has been deleted must not keep the gateway from serving the others.
  const ready = () => [...keySets.values()].some((keySet) => keySet.ready());

  return {
    async find(keyId, origin) {
      // Unproven, as everything is before the signature: it only tells one sender from another.
      const sender = `${origin.clientId} ${origin.objectId}`;
      const candidates = await keySetFor(origin).find(keyId, sender);
      if (candidates.length === 0) throw tokenRejected("unknown_key");
      const allowed = candidates.find(
        ({ issuer }) => issuer === undefined || binds(authority, issuer, origin),
      );
      if (allowed === undefined) throw tokenRejected("issuer");
      return allowed.key;
    },
    ready,
    async warmUp(signal) {
      const ended = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);
      for (;;) {
        ended.throwIfAborted();
        const reads = initial.map((keySet) => keySet.refresh());
        // The failures are reported as events of the key sets; what counts here is whether any read succeeded.
        await Promise.any(reads).catch(() => {});
        if (ready()) return;
        await delay(WARM_UP_PAUSE_MS, undefined, { signal: ended });
      }
    },
    close() {
      closing.abort();
      for (const keySet of keySets.values()) keySet.close();
    },
  };
}

/**
 * Keys that state an issuer may sign for that issuer alone, `{tenantid}` standing for any tenant (Entra, signing key
 * issuer). They state it in the v2 form even where they sign v1 tokens.
 */
function binds(
  authority: Authority,
  keyIssuer: string,
  { tenantId, tokenVersion }: Pick<TokenOrigin, "tenantId" | "tokenVersion">,
): boolean {
  const issuer = keyIssuer.replaceAll("{tenantid}", tenantId);
  return [...authority.issuers(tenantId, "2.0"), ...authority.issuers(tenantId, tokenVersion)].includes(
    issuer,
  );
}
