/** A running gateway: the composition root put behind two listeners, and taken down without losing a request. */

import type { GatewayConfig } from "./config/load.ts";
import { connectionsFor, type FileDescriptors, readFileDescriptors } from "./foundation/file-descriptors.ts";
import { createGateway, type GatewayParts } from "./gateway.ts";
import { listenForAdmin } from "./http/admin-listener.ts";
import { unlinkedRoutes } from "./http/public-address.ts";
import { listen } from "./http/server.ts";
import type { Logger } from "./telemetry/log.ts";

/** A gateway that listens. */
export interface RunningGateway {
  readonly port: number;
  readonly adminPort: number;
  readonly log: Logger;
  /** Takes up what has changed outside: a rotated audit file, files of the credential. Requests go on meanwhile. */
  reload(): Promise<void>;
  /**
   * Ends gracefully: out of rotation, requests in flight finish within the configured grace, connections close. Whoever
   * asks again waits for the same end.
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
  const { app, adminPages, console, refuse, guard, routes, log, warmUp, reload, leaveRotation, close } =
    await createGateway(config, parts);
  const { host, port, adminPort } = config.listen;
  const graceMs = config.http.shutdownGraceSeconds * 1000;

  const connections = withinDescriptors(config.http.connections, readFileDescriptors(), log);
  const publicSide = await listen(app, { host, port, setting: "PORT", refuse, ...guard, connections }).catch(
    async (error: unknown) => {
      await close();
      throw error;
    },
  );
  const adminSide = await listenForAdmin({
    host,
    port: adminPort,
    pages: adminPages,
    console,
    maxBusyMs: config.http.maxEventLoopLagMs || NEVER_SHED_MS,
    ...config.admin,
  }).catch(async (error: unknown) => {
    await publicSide.drain(0);
    await close();
    throw error;
  });
  if (Number.parseInt(process.versions.llhttp ?? "", 10) < 9)
    log.warn(
      { node: process.version },
      "the HTTP parser of this Node lets some ambiguous messages pass; run Node 20.20, 22, 24 or later in production",
    );
  const unlinked = unlinkedRoutes(config.http.publicUrl, host, config.routes);
  if (unlinked.length > 0)
    log.warn(
      { routes: unlinked },
      "http.publicUrl is not set: Graph's paging links will lead callers to Graph, which does not take their token",
    );
  for (const { path, problem } of config.notices) log.warn({ setting: path }, `${path} ${problem}`);
  log.info(
    {
      host,
      port: publicSide.port,
      adminPort: adminSide.port,
      routes: routes.map(({ path, methods, answeredBy }) => `${methods.join(",")} ${path}: ${answeredBy}`),
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
    await publicSide.drain(graceMs);
    await close();
    await adminSide.close();
    log.info("stopped");
  }
  let ended: Promise<void> | undefined;

  return {
    port: publicSide.port,
    adminPort: adminSide.port,
    log,
    reload,
    stop() {
      ended ??= end();
      return ended;
    },
  };
}

/** Not more connections than there are file descriptors for: one more is closed in order, with a line and a count. */
export function withinDescriptors<Limits extends { readonly max: number }>(
  connections: Limits,
  descriptors: FileDescriptors | undefined,
  log: Pick<Logger, "info" | "warn">,
): Limits {
  const most = descriptors === undefined ? Number.POSITIVE_INFINITY : connectionsFor(descriptors);
  if (most >= connections.max) return connections;
  const facts = { descriptors: descriptors?.limit, connections: most, configured: connections.max };
  const message =
    "file descriptors are enough for fewer connections than http.connections.max; raise ulimit -n";
  if (most < FEW_CONNECTIONS) log.warn(facts, message);
  else log.info(facts, message);
  return { ...connections, max: most };
}

/** Below it an ordinary front end with its keep-alive connections is turned away. */
const FEW_CONNECTIONS = 256;
