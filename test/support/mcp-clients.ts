/** Both official SDKs as MCP clients with a person at the browser, behind one interface. */

import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Person } from "../emulator/person.ts";
import { locationOf, REDIRECT } from "./mcp.ts";

export type Sdk = "v1" | "v2";

export interface AgentOptions {
  readonly sdk: Sdk;
  /** Address of the MCP server, as the user configures it. */
  readonly url: string;
  readonly person: Person;
  readonly user: string;
  /** The tool that `call` calls. Default: `whoami`. */
  readonly tool?: { readonly name: string; readonly arguments: Record<string, unknown> };
  /** A registered client id, the URL of a metadata document, or nothing: then the client registers. */
  readonly clientId?: string;
  readonly clientMetadataUrl?: string;
  /** Whether the client renews without its user. */
  readonly renews: boolean;
  /** Whether it drops tokens that the bridge refuses to renew, as the SDKs ask of it. Default: it does. */
  readonly forgets?: boolean;
  /** Where the browser is after the address that the client opened. Default: where the bridge sends it. */
  readonly browse?: (url: URL) => Promise<URL>;
}

export interface Agent {
  /** Calls the tool, signs in as often as the client asks, and gives up after four times. */
  call(): Promise<Outcome>;
  /** Addresses that the client opened in the browser. */
  readonly opened: readonly URL[];
  /** Results of the calls that were answered. */
  readonly answers: readonly unknown[];
  readonly tokens: () => Record<string, unknown> | undefined;
  close(): Promise<void>;
}

export interface Outcome {
  readonly result: "answered" | "refused";
  /** Message of the error that the client's user sees. */
  readonly message: string;
  readonly signIns: number;
}

/** A client that asks for more has lost its way. */
const MOST_SIGN_INS = 4;

interface Stored {
  client?: Record<string, unknown> | undefined;
  tokens?: Record<string, unknown> | undefined;
  verifier: string;
  discovery?: unknown;
}

export function createAgent(options: AgentOptions): Agent {
  const { person, user } = options;
  const opened: URL[] = [];
  const answers: unknown[] = [];
  const { tool = { name: "whoami", arguments: {} } } = options;
  const stored: Stored = {
    verifier: "",
    ...(options.clientId !== undefined && { client: { client_id: options.clientId } }),
  };
  const provider = {
    redirectUrl: REDIRECT,
    clientMetadata: {
      client_name: `agent ${options.sdk}`,
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    },
    ...(options.clientMetadataUrl !== undefined && { clientMetadataUrl: options.clientMetadataUrl }),
    state: () => "a-state",
    clientInformation: () => stored.client,
    saveClientInformation(client: Record<string, unknown>) {
      stored.client = client;
    },
    tokens: () => stored.tokens,
    saveTokens(tokens: Record<string, unknown>) {
      const { refresh_token: _, ...rest } = tokens;
      stored.tokens = options.renews ? tokens : rest;
    },
    redirectToAuthorization(url: URL) {
      opened.push(url);
    },
    saveCodeVerifier(verifier: string) {
      stored.verifier = verifier;
    },
    codeVerifier: () => stored.verifier,
    invalidateCredentials(scope: string) {
      if (options.forgets === false) return;
      if (scope === "all" || scope === "tokens") stored.tokens = undefined;
      if (scope === "all" || scope === "client") stored.client = undefined;
    },
    saveDiscoveryState(state: unknown) {
      stored.discovery = state;
    },
    discoveryState: () => stored.discovery,
  };
  const { connect, callTool, finishAuth, close } =
    options.sdk === "v1" ? openV1(options.url, provider) : openV2(options.url, provider);
  let connected = false;

  /** The person at the browser: the bridge sends her to Entra, which sends her back to the client. */
  async function visit(url: URL): Promise<void> {
    const location = await (options.browse ?? throughBridge)(url);
    const { answer: back, pages } = await person.signIn(location, { user });
    if (back.state !== undefined && back.state !== "a-state") throw new Error("the state came back changed");
    if (back.code === undefined)
      throw new Error(`sign-in ended at Entra: ${back.error_description ?? pages.at(-1)?.title}`);
    await finishAuth(back.code);
  }

  return {
    opened,
    answers,
    tokens: () => stored.tokens,
    async call() {
      let signIns = 0;
      for (;;) {
        const before = opened.length;
        try {
          if (!connected) await connect();
          connected = true;
          answers.push(await callTool(tool));
          return { result: "answered", message: "", signIns };
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          const url = opened[before];
          if (url === undefined || signIns >= MOST_SIGN_INS) return { result: "refused", message, signIns };
          signIns += 1;
          try {
            await visit(url);
          } catch (failure) {
            return {
              result: "refused",
              message: failure instanceof Error ? failure.message : String(failure),
              signIns,
            };
          }
        }
      }
    },
    close,
  };
}

async function throughBridge(url: URL): Promise<URL> {
  const { answer, location } = await locationOf(url);
  if (location === undefined) throw new Error(`sign-in ended at the gateway: ${JSON.stringify(answer.body)}`);
  return location;
}

type Provider = object;
type Tool = NonNullable<AgentOptions["tool"]>;

function openV1(url: string, provider: Provider) {
  // After a failed handshake the SDK wants a transport of its own for the next one; the provider keeps the tokens.
  const make = () => new TransportV1(new URL(url), { authProvider: provider as never });
  let transport = make();
  let client = new ClientV1({ name: "agent", version: "1.0.0" });
  let isOpen = false;
  return {
    async connect() {
      if (isOpen) {
        transport = make();
        client = new ClientV1({ name: "agent", version: "1.0.0" });
      }
      isOpen = true;
      await client.connect(transport as never);
    },
    callTool: (tool: Tool) => client.callTool(tool),
    finishAuth: (code: string) => transport.finishAuth(code),
    close: () => client.close(),
  };
}

function openV2(url: string, provider: Provider) {
  const make = () => new TransportV2(new URL(url), { authProvider: provider as never });
  let transport = make();
  let client = new ClientV2({ name: "agent", version: "1.0.0" });
  let isOpen = false;
  return {
    async connect() {
      if (isOpen) {
        transport = make();
        client = new ClientV2({ name: "agent", version: "1.0.0" });
      }
      isOpen = true;
      await client.connect(transport);
    },
    callTool: (tool: Tool) => client.callTool(tool),
    finishAuth: (code: string) => transport.finishAuth(code),
    close: () => client.close(),
  };
}
