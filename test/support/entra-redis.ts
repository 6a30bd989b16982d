/**
 * A Redis as Azure runs it with Entra: a real redis-server behind a front that takes a token as password where its claims
 * are right and an access policy names its object id, and closes a connection when the token that it came with ends.
 */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type RedisServer, startGuardedRedis } from "./redis-server.ts";

export interface EntraRedis {
  readonly server: RedisServer;
  /** Address of the front, without user and password. */
  readonly url: string;
  readonly port: number;
  /** Sign-ins so far, each with what came of it. */
  readonly signIns: readonly SignInRecord[];
  /** Assigns the access policy to an object id. */
  grant(objectId: string): void;
  /** Takes it away, and closes the connections of that identity. */
  revoke(objectId: string): Promise<void>;
  /** Connections that were closed since their token had ended. */
  expired(): number;
  close(): Promise<void>;
}

export interface SignInRecord {
  readonly objectId: string;
  readonly outcome: "accepted" | "unknown identity" | "no token for Redis" | "expired" | "names another";
  /** Which connection it came on, from 1. */
  readonly connection: number;
}

export interface EntraRedisOptions {
  /** Milliseconds since the epoch, by which tokens end. Default `Date.now`. */
  readonly now?: () => number;
}

const AUDIENCE = "https://redis.azure.com";
/** How often the ends of tokens are looked at, ms. */
const LOOK_MS = 100;

export async function startEntraRedis({ now = Date.now }: EntraRedisOptions = {}): Promise<EntraRedis> {
  const server = await startGuardedRedis();
  const granted = new Set<string>();
  const signIns: SignInRecord[] = [];
  const endings = new Map<Socket, number>();
  let connections = 0;
  let expired = 0;

  function outcomeOf(user: string, token: string): { outcome: SignInRecord["outcome"]; endsAt: number } {
    const { aud, oid, exp } = claimsOf(token);
    const endsAt = Number(exp) * 1_000;
    if (aud !== AUDIENCE) return { outcome: "no token for Redis", endsAt };
    if (oid !== user) return { outcome: "names another", endsAt };
    if (!granted.has(user)) return { outcome: "unknown identity", endsAt };
    return { outcome: endsAt > now() ? "accepted" : "expired", endsAt };
  }

  /** Makes the redis-server ready for the answer that is due, and leaves the answer to it. */
  async function signIn(user: string, token: string, socket: Socket, connection: number): Promise<void> {
    const { outcome, endsAt } = outcomeOf(user, token);
    signIns.push({ objectId: user, outcome, connection });
    if (outcome !== "accepted") return;
    await server.accept(user, token);
    endings.set(socket, endsAt);
  }

  const front = createServer((socket) => {
    connections += 1;
    const connection = connections;
    const behind = connect(server.port, "127.0.0.1");
    for (const [one, other] of [
      [socket, behind],
      [behind, socket],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => {
        endings.delete(one);
        other.destroy();
      });
    }
    behind.pipe(socket);
    let rest = Buffer.alloc(0);
    let forwarded: Promise<unknown> = Promise.resolve();
    socket.on("data", (bytes: Buffer) => {
      rest = Buffer.concat([rest, bytes]);
      for (let command = readCommand(rest); command !== undefined; command = readCommand(rest)) {
        const { words, length } = command;
        const raw = rest.subarray(0, length);
        rest = rest.subarray(length);
        const [name = "", user = "", token = ""] = words;
        forwarded = forwarded.then(async () => {
          if (name.toUpperCase() === "AUTH") await signIn(user, token, socket, connection);
          behind.write(raw);
        });
      }
    });
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  const { port } = front.address() as AddressInfo;

  const watch = setInterval(() => {
    for (const [socket, endsAt] of endings)
      if (endsAt <= now()) {
        expired += 1;
        endings.delete(socket);
        socket.destroy();
      }
  }, LOOK_MS);

  return {
    server,
    port,
    url: `redis://127.0.0.1:${port}`,
    signIns,
    grant: (objectId) => void granted.add(objectId),
    async revoke(objectId) {
      granted.delete(objectId);
      await server.revoke(objectId);
    },
    expired: () => expired,
    async close() {
      clearInterval(watch);
      for (const socket of endings.keys()) socket.destroy();
      front.close();
      await server.close();
    },
  };
}

/** The first command of a stream of RESP arrays (Redis serialization protocol), once it is there whole. */
function readCommand(
  bytes: Buffer,
): { readonly words: readonly string[]; readonly length: number } | undefined {
  let at = 0;
  const line = (): string | undefined => {
    const end = bytes.indexOf("\r\n", at);
    if (end === -1) return undefined;
    const text = bytes.toString("latin1", at, end);
    at = end + 2;
    return text;
  };
  const count = line();
  if (count === undefined) return undefined;
  const words: string[] = [];
  for (let left = Number(count.slice(1)); left > 0; left -= 1) {
    const size = line();
    if (size === undefined) return undefined;
    const end = at + Number(size.slice(1));
    if (bytes.length < end + 2) return undefined;
    words.push(bytes.toString("utf8", at, end));
    at = end + 2;
  }
  return { words, length: at };
}

function claimsOf(token: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
  } catch {
    // No JWT: a password, or nothing.
    return {};
  }
}
