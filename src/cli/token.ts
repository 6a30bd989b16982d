/** `obo-gateway token`: a user token for the gateway from a running emulator. */

import { ConfigurationError } from "../errors.ts";

interface TokenCommand {
  readonly control: string;
  readonly user: string;
  readonly scopes?: string;
  readonly cp1?: true;
  readonly json?: true;
}

const LIMIT_MS = 5_000;

export async function token({ control, user, scopes, cp1, json }: TokenCommand): Promise<void> {
  const body = {
    user,
    ...(scopes !== undefined && { scopes: scopes.split(/[\s,]+/).filter((scope) => scope !== "") }),
    ...(cp1 && { capabilities: ["cp1"] }),
  };
  const refuse = (problem: string) => new ConfigurationError([{ path: control, problem }]);
  let response: Response;
  try {
    response = await fetch(new URL("/tokens", control), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
  } catch {
    throw refuse("is not the control address of a running emulator; start one with obo-gateway emulator");
  }
  const text = await response.text();
  if (!response.ok) throw refuse(`refused (${response.status}): ${text.slice(0, 500)}`);
  const { token: minted } = JSON.parse(text) as { token: string };
  console.log(json ? JSON.stringify({ token: minted }) : minted);
}
