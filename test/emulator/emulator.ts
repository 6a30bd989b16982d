/** Starts Entra, a Kubernetes issuer and Graph on loopback and returns one handle for all of them. */

import { createAuthority } from "./authority.ts";
import { createCertificateAuthority, type ServerCertificate } from "./certificate-authority.ts";
import { createControlApp } from "./control.ts";
import { createAdministration } from "./entra/administration.ts";
import { PRODUCTION_HOSTS } from "./entra/clouds.ts";
import { principalIdOf } from "./entra/seed.ts";
import type { Faults } from "./fault.ts";
import { createFaultInjection } from "./faults.ts";
import { createGraphApp } from "./graph/app.ts";
import { createGraphChallenges } from "./graph/challenges.ts";
import { createTokenCheck } from "./graph/delegated-token.ts";
import { createFiles } from "./graph/files.ts";
import { acceptedPermissions } from "./graph/permissions.ts";
import { createResources } from "./graph/resources.ts";
import { createUploads } from "./graph/uploads.ts";
import type { Emulator, EmulatorOptions, Tenant } from "./handle.ts";
import { signJws } from "./jws.ts";
import { createServiceAccountIssuer, GATEWAY_SUBJECT, TOKEN_EXCHANGE_AUDIENCE } from "./kubernetes/issuer.ts";
import { type Listening, listen } from "./listener.ts";
import { createRecorder } from "./request-log.ts";
import { createSessions } from "./sessions.ts";
import { createStateDirectory } from "./state-directory.ts";

export type { Emulator, EmulatorOptions } from "./handle.ts";

/** @throws when a chosen port is taken or the state directory cannot be written. */
export async function startEmulator(options: EmulatorOptions = {}): Promise<Emulator> {
  let offsetMs = 0;
  const realNow = options.now ?? Date.now;
  const now = () => realNow() + offsetMs;
  const { host = "127.0.0.1", publicHost = "localhost", ports = {} } = options;

  const certificates = createCertificateAuthority(now);
  const certificate = certificates.issueServerCertificate([
    ...new Set(["localhost", "127.0.0.1", publicHost, ...PRODUCTION_HOSTS]),
  ]);
  const listeners = await openListeners(host, ports, certificate);
  const authorityHost = `https://${publicHost}:${listeners.authority.port}/`;
  const graphOrigin = `https://${publicHost}:${listeners.graph.port}`;

  const recorder = createRecorder();
  const faultInjection = createFaultInjection(recorder);
  const sessions = createSessions(now);
  const shared = { recorder, faults: faultInjection, now };

  const [authority, kubernetes, clientCertificate] = await Promise.all([
    createAuthority({
      authorityHost,
      graphOrigin,
      caCertificate: certificates.certificatePem,
      options,
      sessions,
      ...shared,
    }),
    createServiceAccountIssuer({
      origin: `https://${publicHost}:${listeners.kubernetes.port}`,
      keysOrigin: `https://127.0.0.1:${listeners.kubernetes.port}`,
      ...shared,
    }),
    certificates.issueClientCertificate(),
  ]);
  const { directory, seed, keys, policies } = authority;

  const downloadOrigin = `https://127.0.0.1:${listeners.graph.port}`;
  const files = createFiles({ downloadOrigin, now });
  const uploads = createUploads({ origin: downloadOrigin, now });
  const challenges = createGraphChallenges({ directory, sessions, graph: seed.graph, authorityHost, now });
  let permissionsEnforced = options.enforceGraphPermissions ?? true;
  const graphApp = createGraphApp({
    origin: graphOrigin,
    checkToken: createTokenCheck({ directory, keys, clouds: authority.clouds, graph: seed.graph, now }),
    challenges,
    resources: createResources({ directory, files, uploads, isEnforced: () => permissionsEnforced }),
    files,
    uploads,
    ...shared,
  });

  const [homeTenant, secondTenant, foreignTenant] = directory.tenants as [Tenant, Tenant, Tenant];
  const administration = createAdministration({
    directory,
    gateway: seed.gateway,
    homeTenantId: homeTenant.id,
    now,
  });
  administration.registerCertificate(seed.gateway.clientId, clientCertificate);
  administration.addFederatedCredential(seed.gateway.clientId, {
    issuer: kubernetes.issuer,
    subject: GATEWAY_SUBJECT,
    audience: TOKEN_EXCHANGE_AUDIENCE,
  });

  const state = await createStateDirectory({
    directory: options.stateDirectory,
    caCertificate: certificates.certificatePem,
    clientCertificate,
    issueToken: kubernetes.issueServiceAccountToken,
  });
  const tokenVolume = await state.mount();

  const faults: Faults = {
    ...faultInjection,
    async refuseConnections(name) {
      await listeners[name].suspend();
      return { end: () => listeners[name].resume() };
    },
    wrongCertificate(name) {
      const unknown = createCertificateAuthority(now);
      listeners[name].useCertificate(unknown.issueServerCertificate(["localhost", "127.0.0.1", publicHost]));
      return { end: () => listeners[name].useCertificate(certificate) };
    },
  };

  let closing: Promise<void> | undefined;
  const close = async () => {
    faultInjection.clear();
    await Promise.all(Object.values(listeners).map((listener) => listener.close()));
    await state.remove();
  };

  const emulator: Emulator = {
    authorityHost,
    graphUrl: `${graphOrigin}/v1.0`,
    controlUrl: `http://${host === "0.0.0.0" ? publicHost : host}:${listeners.control.port}`,
    ports: {
      authority: listeners.authority.port,
      graph: listeners.graph.port,
      kubernetes: listeners.kubernetes.port,
      control: listeners.control.port,
    },
    caCertificate: certificates.certificatePem,
    files: {
      caCertificate: state.caCertificate,
      clientCertificate: state.clientCertificate,
      federatedToken: tokenVolume.tokenFile,
    },
    homeTenant,
    secondTenant,
    foreignTenant,
    tenantId: homeTenant.id,
    clientId: seed.gateway.clientId,
    frontEndClientId: seed.frontEnd.clientId,
    publicClientId: seed.publicClient.clientId,
    gatewayPrincipalId: principalIdOf(seed.gateway.clientId),
    gateway: seed.gateway,
    ordersApi: seed.orders,
    users: seed.users,
    clientCertificate,
    tokenVolume,
    kubernetes: { ...kubernetes, mountServiceAccountToken: state.mount },
    graph: {
      ...challenges,
      acceptedPermissions,
      enforcePermissions(enforced) {
        permissionsEnforced = enforced;
      },
    },
    faults,
    requests: recorder.log,
    now,
    advanceClock(ms) {
      offsetMs += ms;
    },
    ...administration,
    issueClientCertificate: certificates.issueClientCertificate,
    mintUserToken: authority.mint,
    signJwt(header, payload, signWith) {
      const key = keys.choose(signWith);
      return signJws(header, payload, key.privateKey, key.publicKey);
    },
    publicKey: (kid) => keys.choose(kid).publicKey,
    rollKeys: keys.roll,
    publishKey: keys.publish,
    retireKey: keys.retire,
    refuse: policies.refuse,
    clearRefusals: policies.clear,
    requireMfa: policies.requireMfa,
    requireSignInFrequency: policies.requireSignInFrequency,
    revokeSessions: (ref) => sessions.revoke(directory.user(ref).objectId),
    changePassword(ref, { by = "administrator" } = {}) {
      sessions.revoke(directory.user(ref).objectId, by === "administrator" ? "all" : "public");
    },
    close() {
      closing ??= close();
      return closing;
    },
  };

  listeners.authority.serve(authority.app);
  listeners.graph.serve(graphApp);
  listeners.kubernetes.serve(kubernetes.app);
  listeners.control.serve(createControlApp(emulator));
  return emulator;
}

/** All four or none: a taken port must not leave the others open. */
async function openListeners(
  host: string,
  ports: NonNullable<EmulatorOptions["ports"]>,
  certificate: ServerCertificate,
): Promise<Record<keyof Emulator["ports"], Listening>> {
  const open: Listening[] = [];
  const next = async (port = 0, secure = true): Promise<Listening> => {
    const listening = await listen({ host, port, ...(secure ? { certificate } : {}) });
    open.push(listening);
    return listening;
  };
  try {
    return {
      authority: await next(ports.authority),
      graph: await next(ports.graph),
      kubernetes: await next(ports.kubernetes),
      control: await next(ports.control, false),
    };
  } catch (cause) {
    await Promise.all(open.map((listening) => listening.close()));
    throw cause;
  }
}
