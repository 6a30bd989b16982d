/** Access tokens for the gateway, as a front end would have got them, or as an attacker would bend them. */

import type { MintOptions } from "../handle.ts";
import { isObject } from "../jws.ts";
import type { TokenFactory } from "./access-tokens.ts";
import type { Clouds } from "./clouds.ts";
import type { Directory, Registration } from "./directory.ts";
import type { SigningKeys } from "./keys.ts";

const DEFAULT_LIFETIME_SECONDS = 4_500;

export function createMint(parts: {
  readonly directory: Directory;
  readonly clouds: Clouds;
  readonly keys: SigningKeys;
  readonly tokens: TokenFactory;
  readonly gateway: Registration;
  readonly frontEnd: Registration;
}): (options?: MintOptions) => string {
  const { directory, clouds, keys, tokens, gateway, frontEnd } = parts;

  return (options = {}) => {
    const tenantId =
      options.tenantId ??
      (options.user === undefined ? undefined : directory.user(options.user).tenantId) ??
      directory.tenants[0]?.id ??
      "";
    const user = options.user === undefined ? firstUser(directory, tenantId) : directory.user(options.user);
    const version = options.version === "1.0" ? 1 : 2;
    const key = keys.choose(options.signWith);
    return tokens.accessToken(
      {
        cloud: clouds.ofAuthority(options.authorityHost),
        tenant: { id: tenantId },
        resource: { clientId: gateway.clientId },
        audience: options.audience ?? (version === 2 ? gateway.clientId : (gateway.identifierUris[0] ?? "")),
        version,
        clientId: options.clientId ?? frontEnd.clientId,
        clientAuthentication: options.appOnly === true ? "2" : "0",
        ...(options.appOnly === true ? { principalId: "d9a1f3c7-0b52-4e68-8c1d-7f2e6a904b11" } : { user }),
        scopes: options.scopes ?? ["access_as_user"],
        lifetimeSeconds: options.expiresInSeconds ?? DEFAULT_LIFETIME_SECONDS,
        claims: {
          ...(options.appOnly === true ? {} : user.claims),
          ...(options.capabilities === undefined ? {} : { xms_cc: options.capabilities }),
          ...satisfying(options.claimsRequest),
          ...options.claims,
        },
        ...(options.header === undefined ? {} : { header: options.header }),
      },
      key,
    );
  };
}

function firstUser(directory: Directory, tenantId: string) {
  for (const user of directory.users) if (user.tenantId === tenantId) return user;
  throw new Error(`the emulator knows no user of tenant ${tenantId}`);
}

/** What a new sign-in under this claims request adds to the token. */
function satisfying(claimsRequest: string | undefined): Record<string, unknown> {
  if (claimsRequest === undefined) return {};
  const request: unknown = JSON.parse(claimsRequest);
  const wanted = isObject(request) && isObject(request.access_token) ? request.access_token : {};
  return {
    ...("acrs" in wanted ? { acrs: requestedValues(wanted.acrs) } : {}),
    ...("capolids" in wanted || "polids" in wanted ? { amr: ["pwd", "mfa"] } : {}),
  };
}

/** `value` and `values` of one member of a claims request (OpenID Connect Core §5.5.1). */
export function requestedValues(member: unknown): string[] {
  if (!isObject(member)) return [];
  const values = Array.isArray(member.values) ? member.values : [];
  return [member.value, ...values].filter((value) => typeof value === "string");
}
