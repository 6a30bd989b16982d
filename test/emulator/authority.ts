/** Composes the authority: the directory, its keys, tokens and policies, and the app in front of them. */

import type { Express } from "express";
import { createTokenFactory } from "./entra/access-tokens.ts";
import { createEntraApp } from "./entra/app.ts";
import { createAuthorizationCodeGrant } from "./entra/authorization-code-grant.ts";
import { createAuthorizationCodes } from "./entra/authorization-codes.ts";
import { createAuthorizeEndpoint } from "./entra/authorize-endpoint.ts";
import { createBrowserSessions } from "./entra/browser-session.ts";
import { createClientAuthentication } from "./entra/client-authentication.ts";
import { createClientCredentialsGrant } from "./entra/client-credentials-grant.ts";
import { type Clouds, createClouds } from "./entra/clouds.ts";
import { createDirectory, type Directory } from "./entra/directory.ts";
import { createFederatedVerifier } from "./entra/federated-assertion.ts";
import { createSigningKeys, type SigningKeys } from "./entra/keys.ts";
import { createMint } from "./entra/mint.ts";
import { createOnBehalfOfGrant } from "./entra/on-behalf-of-grant.ts";
import { createPolicies, type Policies } from "./entra/policies.ts";
import { createRefreshTokenGrant } from "./entra/refresh-token-grant.ts";
import { createRefreshTokens } from "./entra/refresh-tokens.ts";
import { createSeals } from "./entra/sealed.ts";
import { type Seed, seedDirectory } from "./entra/seed.ts";
import { createSignOut } from "./entra/sign-out.ts";
import { createTokenAnswers } from "./entra/token-answer.ts";
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
  const policies = createPolicies(directory, now);
  const isOwnIssuer = (issuer: string) =>
    directory.tenants.some(({ id }) =>
      clouds.all.some((cloud) => cloud.v1Issuer(id) === issuer || cloud.v2Issuer(id) === issuer),
    );
  const federated = createFederatedVerifier({ now, caCertificate, isOwnIssuer });
  const clientAuthentication = createClientAuthentication({ directory, federated, now });
  const seals = createSeals();
  const codes = createAuthorizationCodes(seals, now);
  const refreshTokens = createRefreshTokens({
    seals,
    sessions,
    now,
    overlapSeconds: options.refreshTokenOverlapSeconds,
  });
  const answers = createTokenAnswers({
    directory,
    keys,
    tokens,
    refreshTokens,
    lifetimes: options.tokenLifetimeSeconds ?? {},
  });
  const grants = { directory, policies, sessions, clientAuthentication, answers };
  const tokenEndpoint = createTokenEndpoint({
    directory,
    clientAuthentication,
    onBehalfOf: createOnBehalfOfGrant({
      ...grants,
      userAssertions: createUserAssertionVerifier({ directory, keys, sessions, now }),
    }),
    clientCredentials: createClientCredentialsGrant(grants),
    authorizationCode: createAuthorizationCodeGrant({ ...grants, codes }),
    refreshToken: createRefreshTokenGrant({ ...grants, refreshTokens }),
    now,
  });
  const browsers = createBrowserSessions({ seals, sessions, directory });
  const authorizeEndpoint = createAuthorizeEndpoint({
    directory,
    clouds,
    policies,
    sessions,
    browsers,
    codes,
    seals,
    now,
  });
  const signOut = createSignOut({ directory, browsers });
  return {
    app: createEntraApp({
      clouds,
      directory,
      keys,
      tokenEndpoint,
      authorizeEndpoint,
      signOut,
      recorder,
      faults,
      now,
    }),
    clouds,
    directory,
    seed,
    keys,
    policies,
    mint: createMint({ directory, clouds, keys, tokens, gateway: seed.gateway, frontEnd: seed.frontEnd }),
  };
}
