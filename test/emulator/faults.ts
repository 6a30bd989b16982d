/** Everything that can go wrong between a server and its client, on demand. */

import type { NextFunction, Request, RequestHandler, Response } from "express";
import type { Fault, FaultBehaviour, FaultEndpoint, FaultOptions, Faults } from "./fault.ts";
import { answerHasFault, type CapturedAnswer, captureAnswer } from "./faulty-answer.ts";
import type { Recorder } from "./request-log.ts";

interface ActiveFault {
  readonly options: FaultOptions;
  readonly released: Promise<void>;
  readonly release: () => void;
  hits: number;
}

export interface FaultInjection extends Pick<Faults, "inject" | "clear"> {
  /** Middleware of one endpoint; a fault that fits the request answers instead of, or around, the real handler. */
  meets(endpoint: FaultEndpoint): RequestHandler;
}

export function createFaultInjection(recorder: Recorder): FaultInjection {
  const active = new Set<ActiveFault>();

  const end = (fault: ActiveFault) => {
    active.delete(fault);
    fault.release();
  };

  const inject = (options: FaultOptions): Fault => {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const fault: ActiveFault = { options, released, release, hits: 0 };
    active.add(fault);
    return {
      get hits() {
        return fault.hits;
      },
      release: () => end(fault),
      remove: () => end(fault),
    };
  };

  const meet = async (endpoint: FaultEndpoint, request: Request, response: Response, next: NextFunction) => {
    const fault = [...active].find(
      ({ options }) => options.endpoint === endpoint && matches(options, request),
    );
    if (fault === undefined) return next();
    fault.hits += 1;
    // A `hold` stays known until released, though it takes no further requests in.
    if (fault.hits === fault.options.times) active.delete(fault);
    recorder.faulted(response);
    const { behaviour } = fault.options;
    switch (behaviour.kind) {
      case "hold":
        await fault.released;
        return next();
      case "delay":
        setTimeout(next, behaviour.ms).unref();
        return;
      case "json":
      case "text":
      case "html":
      case "redirect":
      case "huge":
        return instead(endpoint, behaviour, response);
      default:
        return around(behaviour, response, next);
    }
  };

  return {
    inject,
    clear: () => active.forEach(end),
    meets: (endpoint) => (request, response, next) => void meet(endpoint, request, response, next),
  };
}

function matches({ match }: FaultOptions, request: Request): boolean {
  if (match === undefined) return true;
  const tenant = request.params.tenant;
  return (
    (match.tenantId === undefined || String(tenant).toLowerCase() === match.tenantId.toLowerCase()) &&
    (match.path === undefined || request.originalUrl.includes(match.path)) &&
    (match.method === undefined || request.method === match.method)
  );
}

type Instead = Extract<FaultBehaviour, { kind: "json" | "text" | "html" | "redirect" | "huge" }>;
type Around = Extract<FaultBehaviour, { kind: "patch" | "truncated" | "reset" | "stall" | "drip" }>;

function instead(endpoint: FaultEndpoint, behaviour: Instead, response: Response): void {
  // A caller's body that nobody reads would block the connection.
  response.req.resume();
  if ("retryAfter" in behaviour && behaviour.retryAfter !== undefined) {
    response.set("Retry-After", String(behaviour.retryAfter));
  }
  switch (behaviour.kind) {
    case "json":
      response
        .status(behaviour.status)
        .set(behaviour.headers ?? {})
        .json(behaviour.body === undefined ? defaultBody(endpoint, behaviour.status) : behaviour.body);
      return;
    case "text":
      response
        .status(behaviour.status)
        .type(behaviour.contentType ?? "text/plain")
        .send(behaviour.body ?? "Too Many Requests");
      return;
    case "html":
      response
        .status(behaviour.status ?? 502)
        .type("text/html")
        .send(
          "<html><head><title>Bad Gateway</title></head><body><h2>Our services are busy</h2></body></html>",
        );
      return;
    case "redirect":
      response
        .status(behaviour.status ?? 302)
        .set("Location", behaviour.location)
        .end();
      return;
    case "huge":
      response.type("application/json");
      response.end(`{"padding":"${"x".repeat(Math.max(0, behaviour.bytes - 14))}"}`);
  }
}

function around(behaviour: Around, response: Response, next: NextFunction): void {
  const atOnce =
    (behaviour.kind === "reset" || behaviour.kind === "stall") && behaviour.when === "before-headers";
  if (atOnce) {
    if (behaviour.kind === "reset") response.req.socket.destroy();
    return;
  }
  captureAnswer(response, (answer: CapturedAnswer) => answerHasFault(behaviour, answer));
  next();
}

function defaultBody(endpoint: FaultEndpoint, status: number): unknown {
  if (endpoint === "graph") {
    return {
      error: {
        code: status === 429 ? "TooManyRequests" : "serviceNotAvailable",
        message: "Injected fault.",
        innerError: { code: String(status) },
      },
    };
  }
  const code = status === 429 ? 90055 : 90033;
  return {
    error: "temporarily_unavailable",
    error_description: `AADSTS${code}: Injected fault.`,
    error_codes: [code],
  };
}
