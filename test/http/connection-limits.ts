/** Limits of a public listener that no test meets unless it sets others. */

import type { ConnectionLimits } from "../../src/http/contract.ts";

export const CONNECTION_LIMITS: ConnectionLimits = {
  max: Number.POSITIVE_INFINITY,
  maxPipelined: 16,
  headersTimeoutSeconds: 20,
  requestTimeoutSeconds: 0,
  keepAliveTimeoutSeconds: 65,
  maxRequests: 0,
  writeStallSeconds: 30,
  minWriteBytesPerSecond: 512,
  writeTimeoutSeconds: 600,
};
