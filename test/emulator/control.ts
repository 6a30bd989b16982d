/** Control over plain HTTP on loopback, for the demo and for tests in other processes. */

import { rename, stat, writeFile } from "node:fs/promises";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import type { FaultOptions } from "./fault.ts";
import type { Emulator, MfaRequirement, MintOptions, RefusalOptions, Removable } from "./handle.ts";
import { isObject } from "./jws.ts";

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
    ordersClientId: emulator.ordersApi.clientId,
    kubernetesIssuer: emulator.kubernetes.issuer,
    caFile: emulator.files.caCertificate,
    clientCertificateFile: emulator.files.clientCertificate,
    federatedTokenFile: emulator.files.federatedToken,
  };
}

export function createControlApp(emulator: Emulator): Express {
  const app = express().disable("x-powered-by");
  const interventions = new Map<string, Removable>();
  let serial = 0;
  const keep = (intervention: Removable): { id: string } => {
    serial += 1;
    const id = String(serial);
    interventions.set(id, intervention);
    return { id };
  };
  // The options have the shape of the handle's types; a wrong one fails there and is answered with 400.
  const body = <Options>(request: Request): Options =>
    (isObject(request.body) ? request.body : {}) as Options;

  app.use(express.json({ limit: "1mb" }));
  app.get("/facts", (_request, response) => void response.json(factsOf(emulator)));
  app.post("/tokens", (request, response) => {
    response.json({ token: emulator.mintUserToken(body<MintOptions>(request)) });
  });

  app.post("/refusals", (request, response) => {
    response.json(keep(emulator.refuse(body<RefusalOptions>(request))));
  });
  app.delete("/refusals", (_request, response) => {
    emulator.clearRefusals();
    response.sendStatus(204);
  });
  app.post("/faults", (request, response) => {
    response.json(keep(emulator.faults.inject(body<FaultOptions>(request))));
  });
  app.delete("/faults", (_request, response) => {
    emulator.faults.clear();
    response.sendStatus(204);
  });
  app.delete("/interventions/:id", (request, response) => {
    interventions.get(request.params.id)?.remove();
    response.sendStatus(interventions.delete(request.params.id) ? 204 : 404);
  });

  app.post("/users/:user/require-mfa", (request, response) => {
    response.json(keep(emulator.requireMfa(request.params.user, body<MfaRequirement>(request))));
  });
  app.post("/users/:user/revoke-sessions", (request, response) => {
    emulator.revokeSessions(request.params.user);
    response.sendStatus(204);
  });
  app.post("/users/:user/graph-challenge", (request, response) => {
    response.json(keep(emulator.graph.challenge(request.params.user, body(request))));
  });
  app.post("/consent/revoke", (request, response) => {
    emulator.revokeConsent(body(request));
    response.sendStatus(204);
  });
  app.post("/consent/grant", (request, response) => {
    emulator.grantConsent(body(request));
    response.sendStatus(204);
  });

  // The old certificate stays registered, as an operator would leave it until the new one is seen in use.
  app.post("/client-certificate/rotate", async (_request, response) => {
    const certificate = await emulator.issueClientCertificate();
    emulator.registerCertificate(emulator.clientId, certificate);
    const file = emulator.files.clientCertificate;
    const { mode } = await stat(file);
    await writeFile(`${file}.new`, certificate.pem, { mode });
    await rename(`${file}.new`, file);
    response.sendStatus(204);
  });
  app.post("/federated-token/rotate", async (request, response) => {
    await emulator.tokenVolume.rotate(body(request));
    response.sendStatus(204);
  });
  app.post("/federated-token/break", async (request, response) => {
    await emulator.tokenVolume.breakWith(body<{ defect: "missing" }>(request).defect);
    response.sendStatus(204);
  });
  app.post("/keys/roll", async (request, response) => {
    response.json(await emulator.rollKeys(body(request)));
  });
  app.post("/clock/advance", (request, response) => {
    emulator.advanceClock(Number(body<{ ms: number }>(request).ms));
    response.sendStatus(204);
  });

  app.get("/requests", (_request, response) => {
    const { token, discovery, keys, graph, kubernetes, counts, pending } = emulator.requests;
    response.json({ counts, pending, token, discovery, keys, graph, kubernetes });
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
