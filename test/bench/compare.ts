/** This build and that of another revision under the same load, in turns: what a change costs or saves. */

import { startAuthority } from "./authority.ts";
import { environment, GATEWAY, PASS_THROUGH, unsheddingConfig } from "./contenders.ts";
import { leaveServerCore } from "./processor.ts";
import { buildRevision } from "./revision.ts";
import { compare, type Round } from "./rounds.ts";
import { startServer } from "./server-process.ts";
import { SMALL_BODY_BYTES } from "./stage.ts";
import { median, pairedRatio, percentile } from "./statistics.ts";
import { resultTable } from "./table.ts";
import { rotate, startFixedApi } from "./wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
/** Short rounds and many of them: what else the machine does then hits all three alike. */
const ROUNDS = { rounds: 24, roundMs: 300, warmUpMs: 4_000 };

/**
 * Needs `dist`.
 *
 * @throws when the revision does not exist or does not build.
 */
export async function benchCompare(revision: string): Promise<void> {
  const { commit, root: other } = buildRevision(revision);
  const authority = await startAuthority();
  const api = await startFixedApi(SMALL_BODY_BYTES);
  try {
    const rotation = rotate("/graph/me", await authority.mint(USERS));
    const env = environment(authority, api.url);
    leaveServerCore();
    const contenders = [
      { ...PASS_THROUGH, root: undefined },
      { ...GATEWAY, name: `obo-gateway at ${commit}`, root: other },
      { ...GATEWAY, name: "obo-gateway here", root: undefined },
    ];
    const servers = await Promise.all(
      contenders.map(({ name, args, root }) =>
        startServer({ name, args, env: { ...env, ...unsheddingConfig(root) }, root }),
      ),
    );
    const { rounds, conditions } = await compare(
      servers.map((server) => ({
        name: server.name,
        server,
        rotation,
        connections: CONNECTIONS,
        bodyBytes: SMALL_BODY_BYTES,
      })),
      ROUNDS,
    );
    await Promise.all(servers.map((server) => server.stop()));
    const [bare = [], before = [], here = []] = rounds.map(costs);
    const row = (name: string, values: readonly number[]) => ({
      name,
      figures: [
        ...quartiles(values),
        pairedRatio(bare, values),
        pairedRatio(values, before),
        ...quartiles(values.map((value, round) => value / (before[round] ?? Number.NaN))).filter(
          (_, index) => index !== 1,
        ),
      ],
    });
    console.log(
      resultTable({
        title: `hot path: ${USERS} users, ${CONNECTIONS} connections, 1 KiB answers; quartiles of ${ROUNDS.rounds} rounds`,
        columns: [
          { name: "CPU µs 1/4", digits: 1 },
          { name: "median", digits: 1 },
          { name: "3/4", digits: 1 },
          { name: "CPU ratio", digits: 2 },
          { name: `to ${commit}`, digits: 3 },
          { name: "1/4", digits: 3 },
          { name: "3/4", digits: 3 },
        ],
        rows: [
          row(PASS_THROUGH.name, bare),
          ...[before, here].map((values, index) => row(contenders[index + 1]?.name ?? "", values)),
        ],
        targets: [],
        notes: [conditions],
      }),
    );
  } finally {
    api.close();
    authority.close();
  }
}

function costs(rounds: readonly Round[]): number[] {
  return rounds.map(({ processorUs }) => processorUs);
}

function quartiles(values: readonly number[]): number[] {
  const sorted = values.toSorted((one, other) => one - other);
  return [percentile(sorted, 0.25), median(values), percentile(sorted, 0.75)];
}
