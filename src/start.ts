/** A running gateway: the composition root put behind two listeners, and taken down without losing a request. */

import type { GatewayConfig } from "./config/load.ts";
import { createGateway, type Gateway, type GatewayParts } from "./gateway.ts";
import { listenForAdmin } from "./http/admin.ts";
import { type ServedRoute, unlinkedRoutes } from "./http/route-table.ts";
import { createDescriptorRoom, type Listening, listen } from "./http/server.ts";
import type { ProxyOptions, ProxyServer } from "./outbound/contract.ts";
import { unreadExceptions } from "./outbound/proxies.ts";
import type { ReadConfig, Reconfigured } from "./serving.ts";
import type { Logger } from "./telemetry/contract.ts";

/** A gateway that listens. */
export interface RunningGateway {
  readonly port: number;
  readonly adminPort: number;
  /** Of the local API; 0 on a Unix socket, and undefined where it is not configured. */
  readonly localPort: number | undefined;
  readonly log: Logger;
  /** Takes up what has changed outside: a rotated audit file, files of the credential. Requests go on meanwhile. */
  reload(): Promise<void>;
  /**
   * Takes over what may change while requests are served: routes, APIs, limits, cross-origin rules. See
   * `Gateway.reconfigure`.
   */
  reconfigure(read: ReadConfig): Promise<Reconfigured>;
  /**
   * Ends gracefully: out of rotation, requests in flight finish within the configured grace, connections close. A second
   * call waits for the same end.
   */
  stop(): Promise<void>;
}

/** How long the event loop may stand still where load is never shed for it, ms. */
const NEVER_SHED_MS = 10_000;

/**
 * Starts both listeners, then fetches signing keys in the background; readiness waits for them.
 *
 * @throws {ConfigurationError} when something configured cannot be had, a port included. Nothing is left half-started.
 */
export async function startGateway(config: GatewayConfig, parts: GatewayParts = {}): Promise<RunningGateway> {
  const gateway = await createGateway(config, parts);
  const { log, warmUp, reload, leaveRotation, close } = gateway;
  const graceMs = config.http.shutdownGraceSeconds * 1000;
  const { publicSide, adminSide, localSide } = await listenOnAllSides(gateway, config);
  if (Number.parseInt(process.versions.llhttp ?? "", 10) < 9)
    log.warn(
      { node: process.version },
      "the HTTP parser of this Node lets some ambiguous messages pass; run Node 20.20, 22, 24 or later in production",
    );
  if (config.proxies !== undefined) reportProxies(config.proxies, log);
  reportSettings(config, log);
  log.info(
    {
      host: config.listen.host,
      port: publicSide.port,
      adminPort: adminSide.port,
      ...(localSide !== undefined && {
        ...(config.local?.socket === undefined
          ? { localPort: localSide.port }
          : { localSocket: config.local.socket }),
      }),
      routes: listed(gateway.routes),
    },
    "listening",
  );
  let stopping = false;
  warmUp().then(
    () => log.info("ready"),
    (err) => {
      if (!stopping) log.error({ err }, "signing keys will be fetched with the first request");
    },
  );

  async function end(): Promise<void> {
    stopping = true;
    leaveRotation();
    await Promise.all([publicSide.drain(graceMs), localSide?.drain(graceMs)]);
    await close();
    await adminSide.close();
    log.info("stopped");
  }
  let ended: Promise<void> | undefined;

  return {
    port: publicSide.port,
    adminPort: adminSide.port,
    localPort: localSide?.port,
    log,
    reload,
    async reconfigure(read) {
      let latest = config;
      const event = await gateway.reconfigure(async () => {
        latest = await read();
        return latest;
      });
      if (event.outcome === "taken_over") {
        reportSettings(latest, log);
        log.info({ generation: event.generation, routes: listed(gateway.routes) }, "serving");
      }
      return event;
    },
    stop() {
      ended ??= end();
      return ended;
    },
  };
}

/** Those that listen already are closed again when another one cannot. */
async function listenOnAllSides(gateway: Gateway, config: GatewayConfig) {
  const { app, adminPages, console, refuse, guard, log, close } = gateway;
  const { host, port, adminPort } = config.listen;
  const open: (() => Promise<void>)[] = [close];
  try {
    const room = createDescriptorRoom(config.http.connections.max, log);
    const publicSide = await listen(app, { host, port, setting: "PORT", refuse, ...guard, room });
    open.push(() => publicSide.drain(0));
    const adminSide = await listenForAdmin({
      host,
      port: adminPort,
      pages: adminPages,
      console,
      maxBusyMs: config.http.maxEventLoopLagMs || NEVER_SHED_MS,
      ...config.admin,
    });
    open.push(adminSide.close);
    return { publicSide, adminSide, localSide: await listenLocally(gateway, config) };
  } catch (error) {
    for (const end of open.toReversed()) await end();
    throw error;
  }
}

function listed(routes: readonly ServedRoute[]): readonly string[] {
  return routes.map(({ path, methods, answeredBy }) => `${methods.join(",")} ${path}: ${answeredBy}`);
}

/** Settings that are valid, and that the operator should look at. */
function reportSettings(config: GatewayConfig, log: Logger): void {
  const unlinked = unlinkedRoutes(config.http.publicUrl, config.listen.host, config.routes);
  if (unlinked.length > 0)
    log.warn(
      { routes: unlinked },
      "http.publicUrl is not set: Graph's paging links will lead callers to Graph, which does not take their token",
    );
  for (const { path, problem } of config.notices) log.warn({ setting: path }, `${path} ${problem}`);
}

/** The loopback address or a Unix socket, whatever HOST says: who reaches it can ask for tokens. */
async function listenLocally({ local }: Gateway, config: GatewayConfig): Promise<Listening | undefined> {
  if (local === undefined || config.local === undefined) return undefined;
  const { port = 0, socket } = config.local;
  return listen(local.listener, {
    host: "127.0.0.1",
    port,
    socket,
    setting: socket === undefined ? "LOCAL_PORT" : "LOCAL_SOCKET",
    refuse: local.refuse,
    ...local.guard,
  });
}

function reportProxies(proxies: ProxyOptions, log: Logger): void {
  const named = ({ isTls, hostname, port }: ProxyServer) =>
    `${isTls ? "https" : "http"}://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  log.info(
    {
      http: proxies.http && named(proxies.http),
      https: proxies.https && named(proxies.https),
      except: proxies.exceptions,
    },
    "connections go through proxies of the environment, which resolve names: there private addresses are refused only where a URL spells them",
  );
  const unread = unreadExceptions(proxies);
  if (unread.length > 0)
    log.warn({ entries: unread }, "NO_PROXY holds entries without a meaning; they except nothing");
}
