/** What every credential source implements and receives, seen by the ring alone. Types only. */

import type {
  AuthenticationRequest,
  Canary,
  ClientAuthentication,
  CredentialEvent,
  CredentialSource,
  SourceStatus,
} from "./contract.ts";

/** A credential of one source, as the ring sees it. */
export interface SourceCredential {
  readonly source: CredentialSource;
  /** Rejects with `credential_unavailable` when the source has nothing valid. */
  prove(request: AuthenticationRequest): Promise<Proof>;
  /**
   * Looks whether the source has something newer: when that is due, or, forced, though nothing says so. `status()` reports
   * faults; none is thrown.
   */
  look(force: boolean): Promise<void>;
  status(): SourceStatus;
}

export interface Proof {
  readonly authentication: ClientAuthentication;
  /** Which generation of the source it was made from. */
  readonly generation: number;
}

/** What a source needs beside its settings. */
export interface SourcePorts {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly emit: (event: CredentialEvent) => void;
  /** Without one, what is new takes over at once. */
  readonly canary?: Canary | undefined;
}
