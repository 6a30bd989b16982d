/** The second door to MSAL: it knows where each Azure platform gives out tokens of managed identities, and how. */

import type { INetworkModule, ManagedIdentityApplication, NetworkResponse } from "@azure/msal-node";
import { boundedFetch, type Fetch, FetchFailure } from "../../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../../foundation/json.ts";
import { loadMsal } from "./msal.ts";

export interface ManagedIdentityTokenOptions {
  /** Client id of a user-assigned identity; no other kind can be a federated credential. */
  readonly clientId: string;
  readonly fetch: Fetch;
  /** Milliseconds for one request to the platform. */
  readonly timeoutMs: number;
}

/** The endpoint is on this machine or its host, and its answers are a token and little more. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Makes a function that asks the platform for a token, each time anew: whoever asks keeps it. MSAL finds out from
 * the environment which platform it is (`IDENTITY_ENDPOINT` of App Service and Container Apps; else the metadata
 * endpoint of a virtual machine) and keeps that, with the first network client it was given, for the whole process.
 */
export function createManagedIdentityToken({
  clientId,
  fetch,
  timeoutMs,
}: ManagedIdentityTokenOptions): (
  audience: string,
) => Promise<{ readonly token: string } | { readonly problem: string }> {
  let status: number | undefined;
  const send = async <T>(
    method: "GET" | "POST",
    url: string,
    { headers = {}, body }: { readonly headers?: Record<string, string>; readonly body?: string } = {},
  ): Promise<NetworkResponse<T>> => {
    status = undefined;
    const answer = await boundedFetch(fetch, url, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    });
    status = answer.status;
    const parsed = parseJsonObject(answer.text) ?? {};
    return { status, headers: Object.fromEntries(answer.headers), body: parsed as T };
  };
  const networkClient: INetworkModule = {
    sendGetRequestAsync: (url, options) => send("GET", url, options),
    sendPostRequestAsync: (url, options) => send("POST", url, options),
  };
  let application: ManagedIdentityApplication | undefined;

  return async (audience) => {
    const { AuthError, ManagedIdentityApplication } = await loadMsal();
    try {
      application ??= new ManagedIdentityApplication({
        managedIdentityIdParams: { userAssignedClientId: clientId },
        // Its retries take minutes; the gateway asks again by itself, and the token before serves meanwhile.
        system: { networkClient, disableInternalRetries: true },
      });
      const { accessToken } = await application.acquireToken({ resource: audience, forceRefresh: true });
      return accessToken === "" ? { problem: `gave no token (status ${status})` } : { token: accessToken };
    } catch (cause) {
      if (status !== undefined && status !== 200) return { problem: `gave no token (status ${status})` };
      if (cause instanceof FetchFailure) return { problem: `gave no answer (${cause.kind})` };
      // MSAL's code is one word of its own; its message may quote the platform.
      const label = cause instanceof AuthError ? cause.errorCode : "unexpected";
      return { problem: status === undefined ? `gave no answer (${label})` : `gave no token (${label})` };
    }
  };
}
