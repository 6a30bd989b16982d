/** A side of the gateway without Express: its listeners give each request the same record, checks and problems as the public side. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Request, RequestHandler, Response } from "express";
import type { OwnFields } from "../downstream/contract.ts";
import type { RequestObserver, SecondSide } from "./contract.ts";
import { openRecord, receive, recordOf } from "./pipeline.ts";
import type { ChallengeFacts } from "./problem.ts";
import { answerErrors, draining, type ErrorAnswerOptions } from "./refusal.ts";

export interface PlainSideOptions extends ErrorAnswerOptions {
  readonly challenge: ChallengeFacts;
  readonly own: OwnFields;
  readonly observer: RequestObserver;
  readonly auditIsAtRisk?: (() => boolean) | undefined;
}

export function createPlainSide(options: PlainSideOptions): Pick<SecondSide, "serve" | "refuse"> {
  const begin = receive(options.observer, options.auditIsAtRisk);
  const answer = answerErrors(options);

  /** The members by which Express' requests differ from node's, as far as this room's handlers read them. */
  function dressed(incoming: IncomingMessage): Request {
    return Object.assign(incoming as Request, { baseUrl: "", originalUrl: incoming.url ?? "/" });
  }

  return {
    serve(handler, { viaOf, prepare }) {
      return (incoming, outgoing) => {
        const request = dressed(incoming);
        const response = outgoing as Response;
        const via = viaOf(request);
        const refuse = (error: unknown) => {
          recordOf(request).via = via;
          answer(error, request, response, () => {});
        };
        let early: unknown;
        try {
          prepare(request);
        } catch (error) {
          early = error ?? new Error("a request was refused without a reason");
        }
        try {
          void begin(request, response, (error?: unknown) => {
            const failure = early ?? error;
            if (failure !== undefined) throw failure;
            const record = recordOf(request);
            record.via = via;
            const ended = handler(request, response, record);
            if (ended instanceof Promise) ended.catch(refuse);
          });
        } catch (error) {
          refuse(error);
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

/** Runs handlers of Express' kind one after the other over node's own messages; resolves when the last has been called. */
export function runHandlers(
  handlers: readonly RequestHandler[],
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): unknown {
  const request = incoming as Request;
  const response = outgoing as Response;
  const [only, ...more] = handlers;
  if (only === undefined) return undefined;
  if (more.length === 0) return only(request, response, fail);
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
