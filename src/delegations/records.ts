/** Delegations in Redis: one record each, sealed under the master key and the handle, and bounded lists of their ids. */

import { createHash, randomBytes } from "node:crypto";
import { isJsonObject, parseJsonObject } from "../foundation/json.ts";
import { Secret } from "../foundation/secret.ts";
import type { Principal } from "../identity/contract.ts";
import type { RedisStore, SealedPlace, Sealing, Unavailable } from "../redis/contract.ts";
import type { ListedDelegation } from "./contract.ts";
import { createLists } from "./lists.ts";

/** The part of a delegation that only its handle opens. */
export interface DelegationContent {
  readonly user: DelegatingUser;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly clients: readonly string[];
  /**
   * The refresh token that Entra gave last, then the one that was redeemed for it. Entra lets the old one live on, so a
   * process that dies with a new one in hand, or that writes second, loses nothing.
   */
  readonly refreshTokens: readonly Secret[];
}

/** What is kept of the user's token. Of groups nothing is: they would be out of date for as long as a job runs. */
export type DelegatingUser = Pick<
  Principal,
  "tenantId" | "objectId" | "subject" | "clientId" | "tokenVersion" | "scopes" | "roles"
>;

/** A record as it was read, by which its replacement is compared. */
export interface DelegationRecord {
  readonly id: string;
  readonly content: DelegationContent;
  readonly stored: Buffer;
}

export interface RecordsOptions {
  readonly authorityHost: string;
  readonly clientId: string;
  readonly store: RedisStore;
  readonly sealing: Sealing;
  readonly maxPerUser: number;
  readonly maxPerClient: number;
  readonly now: () => number;
}

/** Whose share of delegations is used up. */
export type Full = "user" | "client";

export interface DelegationRecords {
  /** Which bound leaves no room for one more; `"none"`: none. */
  full(user: DelegatingUser): Promise<Full | "none" | Unavailable>;
  create(handle: Secret, content: DelegationContent): Promise<Full | "none" | Unavailable>;
  /** Null for a handle that is not known. Known or not, the same work is done. */
  open(handle: Secret): Promise<DelegationRecord | null | Unavailable>;
  /** Puts new content in the place of the record: unless it has changed since (`lost`) or has ended (`gone`). */
  replace(
    handle: Secret,
    record: DelegationRecord,
    content: DelegationContent,
  ): Promise<"kept" | "lost" | "gone" | Unavailable>;
  /** Whether the record was there still as it was read, and is no more. */
  removeIf(record: DelegationRecord): Promise<boolean | Unavailable>;
  /** What an id leads to, without its handle. */
  describe(id: string): Promise<DescribedRecord | null | Unavailable>;
  remove(described: DescribedRecord): Promise<boolean | Unavailable>;
  list(
    user: Pick<DelegatingUser, "tenantId" | "objectId">,
  ): Promise<readonly ListedDelegation[] | Unavailable>;
}

export interface DescribedRecord extends ListedDelegation {
  isOf(user: Pick<DelegatingUser, "tenantId" | "objectId">): boolean;
  isIn(tenantId: string): boolean;
  /** Names of the lists that hold the id. */
  readonly lists: readonly string[];
}

/** 256 random bits; the prefix lets scanners of repositories and logs know a handle. */
const PREFIX = "obo_dlg_";
const HANDLE = /^obo_dlg_[\w-]{43}$/;
const ID = /^[\w-]{43}$/;
const MOST_REFRESH_TOKENS = 2;
/** About what a record with two refresh tokens takes. */
const DECOY_BYTES = 4_096;

export const makeHandle = (): Secret => new Secret(PREFIX + randomBytes(32).toString("base64url"));

export const isHandle = (text: string): boolean => HANDLE.test(text);

/** A handle has 256 random bits, so its digest leads back to nothing. */
export function idOf(handle: Secret): string {
  return createHash("sha256").update(`obo-gateway delegation v1\n${handle.reveal()}`).digest("base64url");
}

const REPLACE_IF = `
local stored = redis.call("get", KEYS[1])
if not stored then return -1 end
if stored ~= ARGV[1] then return 0 end
redis.call("set", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1`;
const REMOVE = `return redis.call("del", KEYS[1])`;

const recordName = (id: string) => `obo:{${id}}:delegation`;

/**
 * A record is a line that its id alone leads to, authenticated by the master key, and the sealed content behind it. The
 * line holds keyed hashes of user, tenant and client: enough to end a delegation, and to list it for its user.
 */
interface Line {
  readonly user: string;
  readonly tenant: string;
  readonly client: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly clients: readonly string[];
}

/** Keyed hashes of users, tenants and clients, which name lists; and lines, which hold and prove them. */
function createLines({
  authorityHost,
  clientId,
  sealing,
}: Pick<RecordsOptions, "authorityHost" | "clientId" | "sealing">) {
  const namesOf = (...parts: readonly string[]) =>
    sealing.userNames(JSON.stringify(["delegation", authorityHost, clientId, ...parts]));
  const userTags = ({ tenantId, objectId }: Pick<DelegatingUser, "tenantId" | "objectId">) =>
    namesOf("user", tenantId, objectId);
  const tenantTags = (tenantId: string) => namesOf("tenant", tenantId);
  const clientTags = (user: DelegatingUser) => namesOf("client", user.tenantId, user.clientId);

  function writeLine(line: Line): string {
    const text = JSON.stringify(line);
    const [mac] = namesOf("line", text);
    return `${mac}${text}\n`;
  }

  function readLine(stored: Buffer): { readonly line: Line; readonly end: number } | undefined {
    const end = stored.indexOf("\n");
    const written = stored.subarray(0, Math.max(0, end)).toString();
    const text = written.slice(MAC_LENGTH);
    if (!namesOf("line", text).includes(written.slice(0, MAC_LENGTH))) return undefined;
    // Written by this code under the master key, so it has the shape that this code gives it.
    return { line: JSON.parse(text) as Line, end };
  }

  return { userTags, tenantTags, clientTags, writeLine, readLine };
}

export function createRecords(options: RecordsOptions): DelegationRecords {
  const { authorityHost, clientId, store, sealing, maxPerUser, maxPerClient, now } = options;
  const binding = JSON.stringify(["delegation", authorityHost, clientId]);
  const { userTags, tenantTags, clientTags, writeLine, readLine } = createLines(options);
  const { enlist, strike, idsOf, count } = createLists(store, now);
  /** Is opened in the place of a record that is not there. */
  const decoy = Buffer.concat([
    Buffer.from(writeLine({ user: "", tenant: "", client: "", createdAt: 0, expiresAt: 0, clients: [] })),
    Buffer.of(1),
    randomBytes(DECOY_BYTES),
  ]);

  function compose([home]: readonly [SealedPlace, ...SealedPlace[]], content: DelegationContent): Buffer {
    const { user, createdAt, expiresAt, clients } = content;
    const line = writeLine({
      user: userTags(user)[0],
      tenant: tenantTags(user.tenantId)[0],
      client: clientTags(user)[0],
      createdAt,
      expiresAt,
      clients,
    });
    return Buffer.concat([Buffer.from(line), home.seal(writeContent(content))]);
  }

  /** Takes ids out of the user's lists whose records are no more, as after a refusal by Entra that Redis missed. */
  async function prune(user: DelegatingUser): Promise<void> {
    const ids = (await idsOf(userTags(user))) ?? new Map<string, string>();
    await Promise.all(
      [...ids].map(async ([id, tag]) => {
        if ((await store.isTaken(recordName(id))) === false) await strike(id, [tag, clientTags(user)[0]]);
      }),
    );
  }

  async function full(user: DelegatingUser, pruned = false): Promise<Full | "none" | Unavailable> {
    const [byUser, byClient] = await Promise.all([count(userTags(user)), count(clientTags(user))]);
    if (byUser === undefined || byClient === undefined) return undefined;
    if (byUser < maxPerUser && byClient < maxPerClient) return "none";
    if (pruned) return byUser < maxPerUser ? "client" : "user";
    await prune(user);
    return full(user, true);
  }

  async function describe(id: string): Promise<DescribedRecord | null | Unavailable> {
    if (!ID.test(id)) return null;
    const stored = await store.read(recordName(id));
    if (stored === undefined) return undefined;
    const line = stored === null ? undefined : readLine(stored)?.line;
    if (line === undefined || line.expiresAt <= now()) return null;
    const { user, tenant, client, createdAt, expiresAt, clients } = line;
    return {
      id,
      createdAt,
      expiresAt,
      clients,
      isOf: (one) => userTags(one).includes(user),
      isIn: (tenantId) => tenantTags(tenantId).includes(tenant),
      lists: [user, client],
    };
  }

  return {
    full,
    describe,

    async create(handle, content) {
      const id = idOf(handle);
      const { user, expiresAt } = content;
      const stored = compose(sealing.places(handle, binding), content);
      // The record first: an id that is listed and has no record is over, and its place may be given away.
      const written = await store.write(recordName(id), stored, expiresAt - now());
      if (written !== true) return undefined;
      const [ofUser] = userTags(user);
      const [ofClient] = clientTags(user);
      const byUser = await enlist(ofUser, id, expiresAt, maxPerUser);
      const byClient = byUser === true ? await enlist(ofClient, id, expiresAt, maxPerClient) : undefined;
      if (byUser === true && byClient === true) return "none";
      await store.run(REMOVE, recordName(id), []);
      await strike(id, [ofUser]);
      if (byUser === false) return "user";
      return byClient === false ? "client" : undefined;
    },

    async open(handle) {
      const places = sealing.places(handle, binding);
      const id = idOf(handle);
      const found = await store.read(recordName(id));
      if (found === undefined) return undefined;
      const stored = found ?? decoy;
      const end = readLine(stored)?.end ?? 0;
      const sealed = stored.subarray(end + 1);
      const opened = places.map((place) => place.open(sealed)).find((text) => text !== undefined);
      const content = readContent(opened ?? DECOY);
      return opened === undefined || content === undefined ? null : { id, content, stored };
    },

    async replace(handle, record, content) {
      const { id, stored } = record;
      const made = compose(sealing.places(handle, binding), content);
      const lifeMs = Math.max(1, Math.floor(content.expiresAt - now()));
      const answer = await store.run(REPLACE_IF, recordName(id), [stored, made, String(lifeMs)]);
      if (answer === undefined) return undefined;
      if (answer !== 1) return answer === 0 ? "lost" : "gone";
      await moveLists(record, content);
      return "kept";
    },

    async removeIf({ id, stored }) {
      const removed = await store.removeIf(recordName(id), stored);
      const line = readLine(stored)?.line;
      if (removed === true && line !== undefined) await strike(id, [line.user, line.client]);
      return removed;
    },

    async remove({ id, lists }) {
      const removed = await store.run(REMOVE, recordName(id), []);
      if (removed === undefined) return undefined;
      await strike(id, lists);
      return removed === 1;
    },

    async list(user) {
      const ids = await idsOf(userTags(user));
      if (ids === undefined) return undefined;
      const all = await Promise.all([...ids.keys()].map(describe));
      if (all.includes(undefined)) return undefined;
      return all
        .filter((one) => one !== null && one !== undefined)
        .filter((one) => one.isOf(user))
        .map(({ id, createdAt, expiresAt, clients }) => ({ id, createdAt, expiresAt, clients }))
        .toSorted((one, other) => other.createdAt - one.createdAt);
    },
  };

  /** Lists are named by the first master key: after its rotation, a delegation that is used moves to the new names. */
  async function moveLists({ id, stored }: DelegationRecord, { user, expiresAt }: DelegationContent) {
    const line = readLine(stored)?.line;
    const [ofUser] = userTags(user);
    if (line === undefined || line.user === ofUser) return;
    const [ofClient] = clientTags(user);
    const moved = await Promise.all(
      [ofUser, ofClient].map((tag) => enlist(tag, id, expiresAt, Number.MAX_SAFE_INTEGER)),
    );
    if (moved.every((one) => one === true)) await strike(id, [line.user, line.client]);
  }
}

/** Base64url of a SHA-256. */
const MAC_LENGTH = 43;

function writeContent({ user, refreshTokens, ...rest }: DelegationContent): string {
  return JSON.stringify({
    ...rest,
    user,
    refreshTokens: refreshTokens.slice(0, MOST_REFRESH_TOKENS).map((token) => token.reveal()),
  });
}

/** The seal proves that this code wrote the text; another version of it may have. */
function readContent(text: string): DelegationContent | undefined {
  const { user, createdAt, expiresAt, clients, refreshTokens } = parseJsonObject(text) ?? {};
  if (!isJsonObject(user) || typeof createdAt !== "number" || typeof expiresAt !== "number") return undefined;
  if (!Array.isArray(clients) || !Array.isArray(refreshTokens)) return undefined;
  return {
    user: user as unknown as DelegatingUser,
    createdAt,
    expiresAt,
    clients,
    refreshTokens: refreshTokens.map((token) => new Secret(String(token))),
  };
}

/** Is read in the place of a content that does not open. */
const DECOY = writeContent({
  user: {
    tenantId: "",
    objectId: "",
    subject: "",
    clientId: "",
    tokenVersion: "2.0",
    scopes: [],
    roles: [],
  },
  createdAt: 0,
  expiresAt: 0,
  clients: [],
  refreshTokens: [new Secret("x".repeat(DECOY_BYTES / 2))],
});
