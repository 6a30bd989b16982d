/** A path on the public port for load balancers that can probe no other: ready or not, and nothing else. */

import { randomUUID } from "node:crypto";
import type { RequestHandler } from "express";
import type { OwnFields } from "../downstream/contract.ts";
import { sayOwnFields } from "./pipeline.ts";

/** Asks for no token, so it says no more than the status does. A process that ends is not ready. */
export function answerProbe(path: string, isReady: () => boolean, own: OwnFields): RequestHandler {
  return (request, response, next) => {
    if (request.path !== path || (request.method !== "GET" && request.method !== "HEAD")) {
      next();
      return;
    }
    const ready = isReady();
    sayOwnFields(response, own, randomUUID());
    response.setHeader("cache-control", "no-store");
    response.status(ready ? 200 : 503).json({ ready });
  };
}
