/** The types of the outbound room: proxies of the environment, and connections to everything outside the gateway. */

import type { Socket } from "node:net";
import type { Secret } from "../foundation/secret.ts";

/** A forward proxy: the HTTP_PROXY or HTTPS_PROXY of the environment, taken apart. */
export interface ProxyServer {
  readonly isTls: boolean;
  /** Without the brackets of an IPv6 address. */
  readonly hostname: string;
  readonly port: number;
  /** Value of `Proxy-Authorization`, where the URL holds user information. */
  readonly authorization: Secret | undefined;
}

export interface ProxyOptions {
  /** For `http://` destinations. */
  readonly http: ProxyServer | undefined;
  /** For `https://` destinations. */
  readonly https: ProxyServer | undefined;
  /** Entries of NO_PROXY. */
  readonly exceptions: readonly string[];
}

/** The proxy for a destination, or undefined where it is connected to directly. */
export type ProxyFor = (destination: URL) => ProxyServer | undefined;

export interface ConnectTarget {
  readonly protocol: string;
  /** Without brackets. */
  readonly hostname: string;
  /** With the port, where that is not the scheme's own. */
  readonly host: string;
  /** Empty for the scheme's own. */
  readonly port: string;
  readonly servername?: string | null;
}

/** An attempt to connect. After `destroy` its callback is not called any more. */
export interface ConnectAttempt {
  destroy(): void;
}

/** Connects, by TLS where the scheme asks for it, and by way of the proxy of the destination. Calls back later, never at once. */
export type Connect = (
  target: ConnectTarget,
  callback: (...result: [error: Error] | [error: null, socket: Socket]) => void,
) => ConnectAttempt;
