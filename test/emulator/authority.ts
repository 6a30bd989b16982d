/** Composes the authority: the directory, its keys, tokens and policies, and the app in front of them. */

import type { Express } from "express";
import { createTokenFactory } from "./entra/access-tokens.ts";
import { createEntraApp } from "./entra/app.ts";
import { createClientAuthentication } from "./entra/client-authentication.ts";
import { type Clouds, createClouds } from "./entra/clouds.ts";
import { createDirectory, type Directory } from "./entra/directory.ts";
import { createFederatedVerifier } from "./entra/federated-assertion.ts";
import { createSigningKeys, type SigningKeys } from "./entra/keys.ts";
import { createMint } from "./entra/mint.ts";
import { createPolicies, type Policies } from "./entra/policies.ts";
import { type Seed, seedDirectory } from "./entra/seed.ts";
import { createTokenEndpoint } from "./entra/token-endpoint.ts";
import { createUserAssertionVerifier } from "./entra/user-assertion.ts";
import type { FaultInjection } from "./faults.ts";
import type { EmulatorOptions, MintOptions } from "./handle.ts";
import type { Recorder } from "./request-log.ts";
import type { Sessions } from "./sessions.ts";

export interface Authority {
  readonly app: Express;
  readonly clouds: Clouds;
  readonly directory: Directory;
  readonly seed: Seed;
  readonly keys: SigningKeys;
  readonly policies: Policies;
  readonly mint: (options?: MintOptions) => string;
}

export async function createAuthority(parts: {
  readonly authorityHost: string;
  readonly graphOrigin: string;
  readonly caCertificate: string;
  readonly options: EmulatorOptions;
  readonly sessions: Sessions;
  readonly recorder: Recorder;
  readonly faults: FaultInjection;
  readonly now: () => number;
}): Promise<Authority> {
  const { authorityHost, graphOrigin, caCertificate, options, sessions, recorder, faults, now } = parts;
  const clouds = createClouds(authorityHost);
  const directory = createDirectory();
  const seed = seedDirectory(directory, { graphOrigin, tenants: options.tenants ?? [] });
  const keys = await createSigningKeys(now);
  const tokens = createTokenFactory(now, sessions);
  const policies = createPolicies(directory);
  const isOwnIssuer = (issuer: string) =>
    directory.tenants.some(({ id }) =>
      clouds.all.some((cloud) => cloud.v1Issuer(id) === issuer || cloud.v2Issuer(id) === issuer),
    );
  const federated = createFederatedVerifier({ now, caCertificate, isOwnIssuer });
  const tokenEndpoint = createTokenEndpoint({
    directory,
    keys,
    tokens,
    policies,
    clientAuthentication: createClientAuthentication({ directory, federated, now }),
    userAssertions: createUserAssertionVerifier({ directory, keys, sessions, now }),
    now,
    lifetimes: options.tokenLifetimeSeconds ?? {},
  });
  return {
    app: createEntraApp({ clouds, directory, keys, tokenEndpoint, recorder, faults, now }),
    clouds,
    directory,
    seed,
    keys,
    policies,
    mint: createMint({ directory, clouds, keys, tokens, gateway: seed.gateway, frontEnd: seed.frontEnd }),
  };
}
