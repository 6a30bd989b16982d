/** What can go wrong between the emulator and its clients: types only. */

import type { Removable } from "./handle.ts";

export type Listener = "authority" | "graph" | "kubernetes";

export type FaultEndpoint =
  | "token"
  | "authorize"
  | "discovery"
  | "keys"
  | "instance-discovery"
  | "graph"
  | "kubernetes-discovery"
  | "kubernetes-keys";

export type FaultBehaviour =
  /** JSON instead of the real answer; default body: Entra's `temporarily_unavailable` or Graph's `serviceNotAvailable`. */
  | {
      readonly kind: "json";
      readonly status: number;
      readonly body?: unknown;
      readonly retryAfter?: string | number;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** Any text instead of the real answer; defaults: `text/plain`, "Too Many Requests". */
  | {
      readonly kind: "text";
      readonly status: number;
      readonly body?: string;
      readonly contentType?: string;
      readonly retryAfter?: string | number;
    }
  /** The HTML page of a load balancer; default status 502. */
  | { readonly kind: "html"; readonly status?: number }
  /** The real JSON answer with members set or removed. */
  | {
      readonly kind: "patch";
      readonly set?: Readonly<Record<string, unknown>>;
      readonly remove?: readonly string[];
    }
  | { readonly kind: "redirect"; readonly location: string; readonly status?: number }
  /** A well-framed answer that ends in the middle of its JSON. */
  | { readonly kind: "truncated" }
  /** A 200 of so many bytes of valid-looking JSON. */
  | { readonly kind: "huge"; readonly bytes: number }
  /** The connection dies. */
  | { readonly kind: "reset"; readonly when: "before-headers" | "amid-body" }
  /** The connection stays open and silent. */
  | { readonly kind: "stall"; readonly when: "before-headers" | "amid-body" }
  /** The real answer, a byte at a time. */
  | { readonly kind: "drip"; readonly intervalMs: number }
  /** The real answer, later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** The real answer, after `release()`. */
  | { readonly kind: "hold" };

export interface FaultOptions {
  readonly endpoint: FaultEndpoint;
  readonly behaviour: FaultBehaviour;
  /** How often. Default: until cleared. */
  readonly times?: number;
  /** All that are given must hold. `path` is a substring of path and query. */
  readonly match?: { readonly tenantId?: string; readonly path?: string; readonly method?: string };
}

export interface Fault extends Removable {
  /** How many requests it has met. */
  readonly hits: number;
  /** For `hold`: lets the waiting and all later requests go on. */
  release(): void;
}

export interface Faults {
  inject(options: FaultOptions): Fault;
  /** Ends all faults, held requests go on. */
  clear(): void;
  /** Connections to this listener are refused until `end()`; it comes back on the same port. */
  refuseConnections(listener: Listener): Promise<{ end(): Promise<void> }>;
  /** The listener shows a certificate of an unknown CA until `end()`. Open connections are dropped. */
  wrongCertificate(listener: Listener): { end(): void };
}
