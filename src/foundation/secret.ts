/** An opaque wrapper for tokens, assertions and passwords, so that none can be printed by accident. */

import { createHash } from "node:crypto";
import { inspect } from "node:util";

const REDACTED = "[redacted]";

/**
 * A string that shows itself only to code that asks for it by name. Interpolation, JSON, `console.log` and
 * loggers see `[redacted]`. A class, because a private field is the one place that reflection cannot reach.
 */
export class Secret {
  #value: string;
  #authorization: string | undefined;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Call it at the point of use and let the result go out of scope there. */
  reveal(): string {
    return this.#value;
  }

  /**
   * The value as a bearer token in the `Authorization` field (RFC 6750 §2.1). Made when first asked for; the value is
   * from then on a part of it, so that no second copy stays in memory. Its characters are looked at then, once, so that
   * it can stand in a head as it is.
   *
   * @throws {TypeError} when the value is no text of visible ASCII, and could end the field.
   */
  authorization(): string {
    if (this.#authorization === undefined) {
      if (!/^[!-~]+$/.test(this.#value)) throw new TypeError("a bearer token is visible ASCII");
      this.#authorization = `Bearer ${this.#value}`;
      this.#value = this.#authorization.slice("Bearer ".length);
    }
    return this.#authorization;
  }

  /** First 8 hex digits of the value's SHA-256: enough to follow one token through a log, useless otherwise. */
  fingerprint(): string {
    return createHash("sha256").update(this.#value).digest("hex").slice(0, 8);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
