/** Checks that the Redis of the shared tier takes writes, and that our keys open what they sealed. */

import { randomBytes } from "node:crypto";
import { createRedisToken } from "../exchange/entra/application.ts";
import { Secret } from "../foundation/secret.ts";
import { describeAddressProblem, parseRedisAddress, type RedisAddress } from "../redis/address.ts";
import { probeRedis } from "../redis/connection.ts";
import type { RedisToken } from "../redis/contract.ts";
import { readKeyFile } from "../redis/master-keys.ts";
import { createSealing } from "../redis/sealing.ts";
import { ANSWER_LIMIT_MS, type Examination } from "./examination.ts";
import { silenceOf } from "./network.ts";
import { open } from "./opened.ts";
import { type Check, fault, ok, skipped, type Verdict, warning } from "./verdict.ts";

/** No check where neither the file nor the environment names a Redis. */
export function sharedCacheChecks(examination: Examination): Check[] {
  const { config, variables } = examination;
  const { url } = config.exchange.cache.redis;
  if (url.reveal() === "" && !variables.has("REDIS_URL")) return [];
  if (url.reveal() === "")
    return [
      {
        name: "shared-cache",
        run: async () =>
          warning(
            "REDIS_URL is set, and the configuration file does not use it: tokens and limits stay in the memory of each replica",
            'write exchange: { cache: { redis: { url: "${REDIS_URL:-}" } } } into the file, or unset REDIS_URL',
          ),
      },
    ];
  return [{ name: "shared-cache", run: () => checkSharedCache(examination) }];
}

async function checkSharedCache(examination: Examination): Promise<Verdict> {
  const { cache, cacheKeys, cacheKeysFile } = examination.config.exchange;
  const { url, timeoutMs, auth } = cache.redis;
  const keys = cacheKeysFile === undefined ? cacheKeys : (await readKeyFile(cacheKeysFile)).keys;
  const address = parseRedisAddress(url.reveal());
  if (address === undefined)
    return fault(
      `exchange.cache.redis.url ${describeAddressProblem(url.reveal())}`,
      "write rediss://[user:password@]host[:port], or a form that docs/redis.md lists; percent-encode @, ? and # in a password",
    );
  const [first, ...others] = keys;
  if (first === undefined)
    return fault("TOKEN_CACHE_KEYS is not set", "make one key, the same for all replicas", {
      commands: ["openssl rand -base64 32"],
    });
  const facts = {
    servers: address.nodes.map(({ host, port }) => `${host}:${port}`).join(", "),
    topology: address.topology,
    tls: address.tls ? "yes" : "no",
    keys: keys.length,
    signIn: auth,
  };
  const token = auth === "entra" ? await tokenFor(examination) : undefined;
  if (token !== undefined && "outcome" in token) return token;

  // Under a name of its own, which no user's token can have.
  const [place] = createSealing([first, ...others]).places(
    new Secret(randomBytes(32).toString("base64url")),
    "doctor",
  );
  const text = randomBytes(16).toString("base64url");
  const probe = await probeRedis(address, {
    name: place.name,
    value: place.seal(text),
    limitMs: ANSWER_LIMIT_MS,
    token,
  });
  if ("failure" in probe) return explainFailure(probe.failure, address, facts, token);
  if (place.open(probe.value) !== text)
    return fault(
      "what was written to Redis does not come back as it was",
      "look at what answers there: a proxy, or a server that evicts at once for want of memory",
      { facts, commands: ["redis-cli info memory", "redis-cli config get maxmemory*"] },
    );
  const timed = { ...facts, roundTripMs: Math.ceil(probe.roundTripMs) };
  if (probe.roundTripMs > timeoutMs)
    return warning(
      `Redis answers in ${timed.roundTripMs} ms, and exchange.cache.redis.timeoutMs gives it ${timeoutMs}`,
      "move it nearer to the gateway, or give it more time: until then most requests go on without it",
      { facts: timed },
    );
  const { evictionPolicy } = probe;
  if (examination.config.delegations !== undefined && !KEEPS_DELEGATIONS.has(evictionPolicy))
    return warning(
      `Redis evicts what was not used lately (maxmemory-policy ${evictionPolicy}), and with it delegations, which cannot be had again`,
      "set maxmemory-policy to volatile-ttl, by which cached tokens go before delegations, and give it room",
      { facts: timed, commands: ["redis-cli config set maxmemory-policy volatile-ttl"] },
    );
  return ok("Redis answers, and the keys open what they sealed", { facts: timed });
}

/** Policies by which a delegation stays while its Redis has room for it and for tokens. Undefined: nothing is evicted, or unknown. */
const KEEPS_DELEGATIONS: ReadonlySet<string | undefined> = new Set(["noeviction", "volatile-ttl", undefined]);

/** The token that the gateway would sign in with, or what keeps it from having one. */
async function tokenFor(examination: Examination): Promise<RedisToken | Verdict> {
  const { config, authority, fetch, now } = examination;
  const opened = await open(examination);
  if ("error" in opened) return skipped("needs a usable credential");
  const { clientId, tenantId, regionalAuthority } = config.application;
  const token = await createRedisToken({
    clientId,
    authorityHost: `${authority.origin}/`,
    tokenEndpoint: authority.tokenEndpoint,
    authorizeEndpoint: authority.authorizeEndpoint,
    homeTenantId: tenantId,
    credential: opened.ring,
    fetch,
    timeoutMs: ANSWER_LIMIT_MS,
    ...(regionalAuthority !== undefined && { regionalAuthority }),
    now,
  })();
  if (!("problem" in token)) return token;
  const finding = `Entra gives no token for Redis (${token.problem})`;
  return token.isPassing
    ? warning(
        `${finding}; until then the gateway goes on without Redis`,
        "run the doctor again in a minute; if it stays, look at egress and proxies",
      )
    : fault(
        finding,
        "look at the checks of the credential above; docs/errors-entra.md says what the number means",
      );
}

interface Refusal {
  readonly finding: string;
  readonly fix: string;
}

const NO_PASSWORD: Refusal = {
  finding: "it wants a password, and exchange.cache.redis.url has none",
  fix: "put user and password into the URL: rediss://user:password@host; of Azure, an access key as rediss://:key@host",
};
const WRONG_PASSWORD: Refusal = {
  finding: "it does not accept the user name and password of exchange.cache.redis.url",
  fix: "compare them with the server's; an access key that was regenerated is another one",
};
const READ_ONLY: Refusal = {
  finding: "it is a replica, which takes no writes",
  fix: "name the primary, or its sentinels: redis+sentinel://host:port/master",
};
const BY_LABEL: Readonly<Record<string, Refusal>> = {
  NOAUTH: NO_PASSWORD,
  WRONGPASS: WRONG_PASSWORD,
  // What servers before Redis 6 say to a wrong password, or to one that none is needed for.
  ERR: WRONG_PASSWORD,
  NOPERM: {
    finding: "the user of exchange.cache.redis.url may not do what the shared tier needs",
    fix: "allow it GET, GETRANGE, SET, EXISTS, DEL and EVAL on all keys; with delegations PEXPIRE and the sorted sets (+@sortedset), too",
  },
  READONLY: READ_ONLY,
  OOM: {
    finding: "its memory is full, and it evicts nothing",
    fix: "set maxmemory-policy to allkeys-lru, since every token there can be had again; with delegations, which cannot, to volatile-ttl and give it room",
  },
};

/** Refusals that concern who asks: with a token of Entra, the access policy decides about each of them. */
const IDENTITY_REFUSALS: ReadonlySet<string> = new Set(["WRONGPASS", "NOAUTH", "NOPERM", "ERR"]);

function explainIdentity(
  label: string,
  { objectId }: RedisToken,
  nodes: RedisAddress["nodes"],
  facts: Verdict["facts"] & object,
): Verdict {
  const [name = "NAME"] = nodes[0]?.host.split(".") ?? [];
  return fault(
    `Redis refuses: ${label === "NOPERM" ? "it does not let the gateway's identity do what the shared tier needs" : "it does not know the gateway's identity"} (${label})`,
    "assign an access policy of the Redis to the gateway's service principal; docker/setup/azure.sh --redis does it",
    {
      facts: { ...facts, objectId },
      commands: [
        `az redisenterprise database access-policy-assignment create --resource-group <group> --cluster-name ${name} --database-name default --access-policy-assignment-name obogateway --access-policy-name default --object-id ${objectId}`,
      ],
    },
  );
}

/** What may be heard when one side speaks TLS and the other does not; a server that waits for more says nothing. */
const TALKS_PAST_US = /^(?:disconnected|ECONNRESET|EPIPE|EPROTO|timeout|ETIMEDOUT|ERR_SSL_[A-Z_]+)$/;

function explainFailure(
  label: string,
  { tls, nodes }: RedisAddress,
  facts: Verdict["facts"] & object,
  token: RedisToken | undefined,
): Verdict {
  if (token !== undefined && IDENTITY_REFUSALS.has(label)) return explainIdentity(label, token, nodes, facts);
  const refusal = BY_LABEL[label];
  if (refusal !== undefined) return fault(`Redis refuses: ${refusal.finding}`, refusal.fix, { facts });
  const [{ host, port } = { host: "", port: 0 }] = nodes;
  const command = `redis-cli -h ${host} -p ${port}${tls ? " --tls" : ""} ping`;
  const { finding, fix } = silenceOf(label);
  const other = tls
    ? "; if that port does not speak TLS, name the one that does (6380 of Azure Cache for Redis)"
    : "; if that is a TLS port, write rediss://";
  const hint = TALKS_PAST_US.test(label) ? other : "";
  // It is a fault of the network or of Redis, and the gateway goes on without it; a refusal would last for ever.
  return warning(
    `Redis cannot be reached: ${finding} (${label}); until then the gateway goes on without it`,
    fix + hint,
    { facts, commands: [command] },
  );
}
