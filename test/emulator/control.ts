/** Control over plain HTTP on loopback, for the demo and for tests in other processes. */

import { rename, stat, writeFile } from "node:fs/promises";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { CONTROL_CHECKS } from "./control-checks.ts";
import type { FaultOptions } from "./fault.ts";
import type {
  Emulator,
  GraphChallengeOptions,
  GraphThrottleOptions,
  MfaRequirement,
  MintOptions,
  RedirectType,
  RefusalOptions,
  Removable,
  ServiceAccountTokenOptions,
  TokenVolume,
} from "./handle.ts";

/** What another process needs to know; all strings. */
export function factsOf(emulator: Emulator): Record<string, string> {
  return {
    authorityHost: emulator.authorityHost,
    graphUrl: emulator.graphUrl,
    controlUrl: emulator.controlUrl,
    tenantId: emulator.tenantId,
    secondTenantId: emulator.secondTenant.id,
    foreignTenantId: emulator.foreignTenant.id,
    clientId: emulator.clientId,
    frontEndClientId: emulator.frontEndClientId,
    publicClientId: emulator.publicClientId,
    gatewayPrincipalId: emulator.gatewayPrincipalId,
    ordersClientId: emulator.ordersApi.clientId,
    kubernetesIssuer: emulator.kubernetes.issuer,
    caFile: emulator.files.caCertificate,
    clientCertificateFile: emulator.files.clientCertificate,
    federatedTokenFile: emulator.files.federatedToken,
  };
}

/** Interventions that can still be ended by their number; most end by themselves, so the oldest are forgotten. */
const INTERVENTIONS_KEPT = 1_000;

type Path = keyof typeof CONTROL_CHECKS;

export function createControlApp(emulator: Emulator): Express {
  const app = express().disable("x-powered-by");
  const interventions = new Map<string, Removable>();
  let serial = 0;
  const keep = (intervention: Removable): { id: string } => {
    serial += 1;
    const id = String(serial);
    interventions.set(id, intervention);
    const [oldest] = interventions.keys();
    if (interventions.size > INTERVENTIONS_KEPT && oldest !== undefined) interventions.delete(oldest);
    return { id };
  };

  /** An answer of nothing is 204. The check has made sure that the body has the shape of the handle's type. */
  const post = <Options extends object>(
    path: Path,
    act: (options: Options, parameters: Readonly<Record<string, string>>) => unknown,
  ) => {
    app.post(path, async (request, response) => {
      const body: unknown = request.body ?? {};
      CONTROL_CHECKS[path](body, "the body");
      const answer = await act(body as Options, request.params as Record<string, string>);
      if (answer === undefined) response.sendStatus(204);
      else response.json(answer);
    });
  };
  const withdraw = (path: string, act: () => void) => {
    app.delete(path, (_request, response) => {
      act();
      response.sendStatus(204);
    });
  };

  app.use(express.json({ limit: "1mb", strict: false }));
  app.get("/facts", (_request, response) => void response.json(factsOf(emulator)));
  post<MintOptions>("/tokens", (options) => ({ token: emulator.mintUserToken(options) }));

  post<RefusalOptions>("/refusals", (options) => keep(emulator.refuse(options)));
  withdraw("/refusals", () => emulator.clearRefusals());
  post<FaultOptions>("/faults", (options) => keep(emulator.faults.inject(options)));
  withdraw("/faults", () => emulator.faults.clear());
  post<GraphThrottleOptions>("/graph/throttle", (options) => keep(emulator.graph.throttle(options)));
  withdraw("/graph/challenges", () => emulator.graph.clearChallenges());
  app.delete("/interventions/:id", (request, response) => {
    interventions.get(request.params.id)?.remove();
    response.sendStatus(interventions.delete(request.params.id) ? 204 : 404);
  });

  post<MfaRequirement>("/users/:user/require-mfa", (options, { user = "" }) =>
    keep(emulator.requireMfa(user, options)),
  );
  post<{ seconds: number }>("/users/:user/sign-in-frequency", ({ seconds }, { user = "" }) =>
    keep(emulator.requireSignInFrequency(user, seconds)),
  );
  post("/users/:user/revoke-sessions", (_options, { user = "" }) => emulator.revokeSessions(user));
  post<{ by?: "user" | "administrator" }>("/users/:user/change-password", (options, { user = "" }) =>
    emulator.changePassword(user, options),
  );
  post<GraphChallengeOptions>("/users/:user/graph-challenge", (options, { user = "" }) =>
    keep(emulator.graph.challenge(user, options)),
  );
  post("/consent/revoke", (options) => emulator.revokeConsent(options));
  post<Parameters<Emulator["grantConsent"]>[0]>("/consent/grant", (options) =>
    emulator.grantConsent(options),
  );
  post<{ allowed: boolean }>("/consent/users", (options) => emulator.setUserConsent(options));
  post<{ uri: string; type: RedirectType }>(
    "/applications/:clientId/redirect-uris",
    (redirect, { clientId = "" }) => emulator.registerRedirectUri(clientId, redirect),
  );
  post<{ enforced: boolean }>("/graph/permissions", ({ enforced }) =>
    emulator.graph.enforcePermissions(enforced),
  );
  app.get("/graph/permissions", (request, response) => {
    const { method, path } = request.query;
    const accepted = emulator.graph.acceptedPermissions(String(method ?? "GET"), String(path ?? ""));
    response.json({ accepted: accepted ?? null });
  });

  // The old certificate stays registered, as an operator would leave it until the new one is seen in use.
  post("/client-certificate/rotate", async () => {
    const certificate = await emulator.issueClientCertificate();
    emulator.registerCertificate(emulator.clientId, certificate);
    const file = emulator.files.clientCertificate;
    const { mode } = await stat(file);
    await writeFile(`${file}.new`, certificate.pem, { mode });
    await rename(`${file}.new`, file);
  });
  post<ServiceAccountTokenOptions>("/federated-token/rotate", (options) =>
    emulator.tokenVolume.rotate(options),
  );
  post<{ defect: Parameters<TokenVolume["breakWith"]>[0] }>("/federated-token/break", ({ defect }) =>
    emulator.tokenVolume.breakWith(defect),
  );
  post<{ publish?: boolean }>("/keys/roll", (options) => emulator.rollKeys(options));
  post<{ ms: number }>("/clock/advance", ({ ms }) => emulator.advanceClock(ms));

  app.get("/requests", (_request, response) => {
    const { token, authorize, discovery, keys, graph, kubernetes, counts, pending } = emulator.requests;
    response.json({ counts, pending, token, authorize, discovery, keys, graph, kubernetes });
  });
  app.delete("/requests", (_request, response) => {
    emulator.requests.clear();
    response.sendStatus(204);
  });

  // Express tells error handlers by their four parameters.
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    response.status(400).json({ error: error instanceof Error ? error.message : String(error) });
  });
  return app;
}
