/** A side of the gateway without Express: its listeners give each request the same record, checks and problems as the public side. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Request, RequestHandler, Response } from "express";
import type { OwnFields } from "../downstream/contract.ts";
import type { RequestObserver, SecondSide, Via } from "./contract.ts";
import { beginRequests, openRecord, recordOf } from "./pipeline.ts";
import type { ChallengeFacts } from "./problem.ts";
import { answerErrors, draining, type ErrorAnswerOptions } from "./refusal.ts";

export interface PlainSideOptions extends ErrorAnswerOptions {
  readonly challenge: ChallengeFacts;
  readonly own: OwnFields;
  readonly observer: RequestObserver;
  readonly auditIsAtRisk?: (() => boolean) | undefined;
}

export function createPlainSide(options: PlainSideOptions): Pick<SecondSide, "serve" | "refuse"> {
  const begin = beginRequests(options.observer, options.auditIsAtRisk);
  const answer = answerErrors(options);

  /** The members by which Express' requests differ from node's, as far as this room's handlers read them. */
  function dressed(incoming: IncomingMessage): Request {
    const request = incoming as Request;
    request.baseUrl = "";
    request.originalUrl = incoming.url ?? "/";
    return request;
  }

  function refuse(error: unknown, request: Request, response: Response, via: Via): void {
    recordOf(request).via = via;
    answer(error, request, response, () => {});
  }

  return {
    serve(handler, { viaOf, prepare }) {
      return (incoming, outgoing) => {
        const request = dressed(incoming);
        const response = outgoing as Response;
        const via = viaOf(request);
        let prepared: ReturnType<typeof prepare> | undefined;
        let early: unknown;
        try {
          prepared = prepare(request);
        } catch (error) {
          early = error ?? new Error("a request was refused without a reason");
        }
        try {
          const record = begin(request, response);
          if (early !== undefined) throw early;
          record.via = via;
          const ended = handler(request, response, record, prepared as ReturnType<typeof prepare>);
          if (ended instanceof Promise)
            ended.catch((error: unknown) => refuse(error, request, response, via));
        } catch (error) {
          refuse(error, request, response, via);
        }
      };
    },
    refuse(refusal = draining()) {
      return (incoming, outgoing) => {
        const request = dressed(incoming);
        openRecord(request);
        answer(refusal, request, outgoing as Response, () => {});
      };
    },
  };
}

/**
 * Handlers of Express' kind one after the other, over node's own messages. What the result returns resolves when the last
 * has been called; a single one is called at once.
 */
export function inOrder(
  handlers: readonly RequestHandler[],
): (incoming: IncomingMessage, outgoing: ServerResponse) => unknown {
  const [only] = handlers;
  if (only === undefined) return () => undefined;
  if (handlers.length === 1)
    return (incoming, outgoing) => only(incoming as Request, outgoing as Response, fail);
  return (incoming, outgoing) => runEach(handlers, incoming as Request, outgoing as Response);
}

function runEach(
  handlers: readonly RequestHandler[],
  request: Request,
  response: Response,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const step = (index: number): void => {
      const handler = handlers[index];
      if (handler === undefined) return;
      const isLast = index === handlers.length - 1;
      const next = (error?: unknown) => (error === undefined ? step(index + 1) : reject(error));
      try {
        const ended: unknown = handler(request, response, next);
        if (ended instanceof Promise) ended.then(isLast ? resolve : undefined, reject);
        else if (isLast) resolve(undefined);
      } catch (error) {
        reject(error);
      }
    };
    step(0);
  });
}

function fail(error?: unknown): void {
  if (error !== undefined) throw error;
}
