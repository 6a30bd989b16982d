/** Plays one scenario: calm traffic first, then the attack beside it, then SIGTERM while the attack goes on. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Target } from "../bench/result.ts";
import { type Measurement, servedShare } from "./bounds.ts";
import {
  type AttackedGateway,
  type Participant,
  startAttackedGateway,
  startBareServer,
  startParticipant,
} from "./children.ts";
import { type Facts, passQuestions, whenReady } from "./entra.ts";
import { type Liveness, probeLiveness } from "./liveness.ts";
import type { Scenario, Settings } from "./scenario.ts";
import { type SecondUser, startSecondUser } from "./second-user.ts";
import { type Journey, sharedClock, whereText } from "./where.ts";

/** How long each part takes, ms. */
export interface Times {
  readonly warmUp: number;
  readonly calm: number;
  readonly attack: number;
  /** After SIGTERM, when the process is killed. */
  readonly shutdown: number;
}

export interface PlayOptions {
  readonly times: Times;
  readonly quick: boolean;
  readonly apiUrl: string;
  readonly api: Participant;
  readonly shutdownGraceSeconds: number;
  /** Of how many of the second user's slowest requests it is said what they waited for. */
  readonly followed: number;
}

export interface Played extends Measurement {
  readonly lastWords: string;
  readonly where: readonly string[];
}

const PER_SECOND = 100;
const WINDOW_MS = 500;
const LONGEST_WARM_UP_MS = 5_000;
/** No steady request of a window takes longer once the gateway is warm, unless the machine is busy. */
const WARM_MS = 200;
/** Time that the attacker may take beyond the measured time to report what it got. */
const REPORT_LIMIT_MS = 15_000;

type Found = Pick<Measurement, "outcomes" | "connections"> & { readonly targets: readonly Target[] };

/** @throws when the surroundings fail. A gateway that fails is a result. */
export async function play(scenario: Scenario, options: PlayOptions): Promise<Played> {
  const { times, quick } = options;
  const ms = scenario.ms ?? times.attack;
  const { newcomersPerSecond = 0 } = scenario;
  // Twice as many as the time needs: phases end late on a busy machine.
  const newcomers =
    Math.ceil(((newcomersPerSecond * (LONGEST_WARM_UP_MS + times.calm + ms)) / 1000) * 2) + 20;
  const entra = startParticipant("./entra-main.ts", [newcomersPerSecond === 0 ? "0" : String(newcomers)]);
  const attacker = startAttacker(scenario, quick);
  let gateway: AttackedGateway | undefined;
  const directory = mkdtempSync(join(tmpdir(), "obo-attack-"));
  try {
    const facts = await whenReady(entra, attacker);
    const file = join(directory, "gateway.yaml");
    writeFileSync(file, configuration(scenario.settings ?? {}, options));
    gateway = await startAttackedGateway(
      { GATEWAY_CONFIG: file, HOST: "127.0.0.1", PORT: "0", ADMIN_PORT: "0", ...facts.env },
      options.followed > 0,
    );
    const played = await measure(scenario, { gateway, attacker, entra }, facts, options);
    if (scenario.comparesMemory !== true) return played;
    const target = await memoryTarget(scenario, entra, played.peakMiB, options);
    return { ...played, targets: [...played.targets, target] };
  } finally {
    await gateway?.kill();
    await Promise.all([attacker.end(), entra.end()]);
    rmSync(directory, { recursive: true, force: true });
  }
}

function startAttacker({ name }: Scenario, quick: boolean): Participant {
  return startParticipant("./attacker-main.ts", [name, ...(quick ? ["quick"] : [])], true);
}

interface Processes {
  readonly gateway: AttackedGateway;
  readonly attacker: Participant;
  readonly entra: Participant;
}

async function measure(
  scenario: Scenario,
  { gateway, attacker, entra }: Processes,
  { token, newcomers }: Facts,
  { times, api, followed }: PlayOptions,
): Promise<Played> {
  const { port, adminPort } = gateway;
  const journeys: Journey[] | undefined = followed > 0 ? [] : undefined;
  const ms = scenario.ms ?? times.attack;
  const user = startSecondUser({
    port,
    token,
    newcomers,
    newcomersPerSecond: scenario.newcomersPerSecond ?? 0,
    perSecond: PER_SECOND,
    journeys,
  });
  let liveness: Liveness | undefined;
  try {
    await warmUp(user, times.warmUp);
    const before = await user.during(() => sleep(times.calm));
    gateway.forgetPeak();
    await Promise.all([gateway.loopDelay(), api.loopDelay(), entra.loopDelay()]);
    liveness = probeLiveness(adminPort);
    const attackedAt = performance.now();
    const from = sharedClock();
    const waitedBefore = gateway.waitedMs();
    attacker.tell({ order: { port, adminPort, ms } });
    let found: Found | undefined;
    let until = from;
    const during = await user.during(async () => {
      found = await withLimit(attacker.heard<Found>("found"), ms + REPORT_LIMIT_MS);
      until = sharedClock();
    });
    const waitedShare = (gateway.waitedMs() - waitedBefore) / (performance.now() - attackedAt);
    const livez = liveness.stop();
    // Rejects where Entra has ended: then the gateway failed newcomers for want of it.
    const [loop, apiLoop, entraLoop] = await Promise.all([
      gateway.loopDelay(),
      api.loopDelay(),
      entra.loopDelay(),
    ]);
    await user.stop();
    const passages = await gateway.passages();
    const where =
      passages === undefined ? [] : whereText(journeys ?? [], passages, { from, until, most: followed });
    const died = gateway.died();
    const shutdown = died === undefined ? await gateway.terminate(times.shutdown) : undefined;
    const peakMiB = gateway.peakMiB();
    if (found === undefined) throw new Error("the attacker reported nothing");
    const lastWords = gateway.lastWords();
    const figures = { before, during, livez, waitedShare, loop, apiLoop, entraLoop, died, shutdown, peakMiB };
    return { ...figures, ...found, lastWords, where };
  } finally {
    // Where the surroundings failed, other scenarios follow: nothing of this one may go on beside them.
    liveness?.stop();
    await user.stop();
  }
}

/** What the gateway may take under an attack, to what `node:http` alone takes under it. */
const MOST_TIMES_BARE = 1.5;

/** Makes the same attack, for as long, on a server of `node:http` alone. */
async function memoryTarget(
  scenario: Scenario,
  entra: Participant,
  gatewayMiB: number,
  { times, quick }: PlayOptions,
): Promise<Target> {
  const bare = await startBareServer();
  const attacker = startAttacker(scenario, quick);
  void passQuestions(attacker, entra);
  try {
    await attacker.heard("ready");
    const ms = scenario.ms ?? times.attack;
    attacker.tell({ order: { port: bare.port, adminPort: bare.port, ms } });
    await withLimit(attacker.heard("found"), ms + REPORT_LIMIT_MS);
    const bareMiB = bare.peakMiB();
    return {
      what: `memory, times the ${bareMiB.toFixed(0)} MiB of node:http alone`,
      value: gatewayMiB / bareMiB,
      digits: 2,
      limit: { atMost: MOST_TIMES_BARE },
    };
  } finally {
    await bare.kill();
    await attacker.end();
  }
}

/** The first exchange and the first compilation are no calm traffic, and a slow start would excuse a slow attack. */
async function warmUp(user: SecondUser, atLeastMs: number): Promise<void> {
  const began = performance.now();
  // By the clock: a window ends with its last answer, which Entra may hold back.
  for (let ms = 0; ms < LONGEST_WARM_UP_MS; ms = performance.now() - began) {
    const traffic = await user.during(() => sleep(WINDOW_MS));
    const isLongEnough = performance.now() - began >= atLeastMs;
    if (isLongEnough && servedShare(traffic) === 1 && traffic.longest < WARM_MS) return;
  }
}

/** JSON is YAML. Whatever is silent here is at its default, as it would be in production. */
function configuration(
  { http = {}, exchange, api = {}, routes = [] }: Settings,
  { apiUrl, shutdownGraceSeconds }: PlayOptions,
): string {
  return JSON.stringify({
    identity: { tenants: ["${AZURE_TENANT_ID}"], audiences: ["${AZURE_CLIENT_ID}"] },
    ...(exchange !== undefined && { exchange }),
    downstreamApis: {
      graph: {
        baseUrl: apiUrl,
        scopes: ["https://graph.microsoft.com/.default"],
        kind: "graph",
        allowPrivateNetwork: true,
        ...api,
      },
    },
    routes: [
      {
        path: "/graph",
        downstreamApi: "graph",
        methods: ["GET", "POST", "PUT"],
        requiredScopes: ["access_as_user"],
        allow: ["/me", "/me/**", "/$batch"],
      },
      ...routes,
    ],
    http: { shutdownGraceSeconds, ...http },
  });
}

async function withLimit<T>(promise: Promise<T>, ms: number): Promise<T> {
  const limit = new AbortController();
  try {
    return await Promise.race([
      promise,
      sleep(ms, undefined, { signal: limit.signal }).then(() => {
        throw new Error("the attacker did not report in time");
      }),
    ]);
  } finally {
    limit.abort();
  }
}
