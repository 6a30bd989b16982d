/** Authorization requests as clients make them, for the tests of sign-in. */

import { createHash, randomBytes } from "node:crypto";
import type { Emulator } from "./handle.ts";
import { createPerson, type Journey, type Person, type PersonOptions } from "./person.ts";
import type { Answer, Client } from "./support.ts";

/** Origin of a single-page application; the port is any. */
export const PAGE_ORIGIN = "http://localhost:4711";
export const PAGE = `${PAGE_ORIGIN}/`;
export const DEVICE = "http://localhost:5822/callback";

type Form = Readonly<Record<string, string | undefined>>;

export interface SignInRequest {
  readonly url: URL;
  readonly verifier: string;
  /** What the code is to be redeemed with. */
  readonly redeem: Form;
}

export const gatewayScope = (emulator: Emulator) => `api://${emulator.clientId}/access_as_user`;

/** A complete request of the front end with PKCE, and what to change in it; `undefined` leaves a parameter out. */
export function pageRequest(
  emulator: Emulator,
  changes: Form = {},
  tenant = emulator.tenantId,
): SignInRequest {
  return request(emulator, tenant, {
    client_id: emulator.frontEndClientId,
    redirect_uri: PAGE,
    response_mode: "fragment",
    ...changes,
  });
}

/** The same for a program on the user's machine. */
export function deviceRequest(
  emulator: Emulator,
  changes: Form = {},
  tenant = emulator.tenantId,
): SignInRequest {
  return request(emulator, tenant, { client_id: emulator.publicClientId, redirect_uri: DEVICE, ...changes });
}

function request(emulator: Emulator, tenant: string, changes: Form): SignInRequest {
  const verifier = randomBytes(32).toString("base64url");
  const parameters: Form = {
    response_type: "code",
    scope: `${gatewayScope(emulator)} openid profile offline_access`,
    state: "as-sent",
    nonce: "n-0S6_WzA2Mj",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...changes,
  };
  const url = new URL(`${emulator.authorityHost}${tenant}/oauth2/v2.0/authorize`);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return {
    url,
    verifier,
    redeem: {
      grant_type: "authorization_code",
      client_id: parameters.client_id,
      redirect_uri: parameters.redirect_uri,
      code_verifier: verifier,
    },
  };
}

export function personAt(client: Client): Person {
  return createPerson(client.emulator.authorityHost, client.fetch);
}

/** Signs in and redeems the code, as the page of `PAGE_ORIGIN` would. */
export async function signInAtPage(
  client: Client,
  options: PersonOptions,
  changes: Form = {},
): Promise<{ readonly journey: Journey; readonly answer: Answer }> {
  const { url, redeem } = pageRequest(client.emulator, changes);
  const journey = await personAt(client).signIn(url, options);
  return { journey, answer: await redeemAtPage(client, { ...redeem, code: journey.answer.code }) };
}

export function redeemAtPage(client: Client, form: Form): Promise<Answer> {
  return client.postToken(form, { headers: { origin: PAGE_ORIGIN } });
}
