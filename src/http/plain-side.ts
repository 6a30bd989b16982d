/** A side of the gateway without Express: its listeners give each request the same record, checks and problems as the public side. */

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Request, RequestHandler, Response } from "express";
import type { OwnFields } from "../downstream/contract.ts";
import type { GatewayError } from "../errors.ts";
import type { RequestObserver, RequestRecord, Via } from "./contract.ts";
import { openRecord, receive, recordOf } from "./pipeline.ts";
import type { ChallengeFacts } from "./problem.ts";
import { answerErrors, draining, type ErrorAnswerOptions } from "./refusal.ts";

export interface PlainSideOptions extends ErrorAnswerOptions {
  readonly challenge: ChallengeFacts;
  readonly own: OwnFields;
  readonly observer: RequestObserver;
  readonly auditIsAtRisk: (() => boolean) | undefined;
}

/** A handler may throw or reject: the error becomes the answer. */
export type PlainHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  record: RequestRecord,
) => unknown;

export interface ServeOptions {
  /** By which interface a request comes. */
  readonly viaOf: (request: IncomingMessage) => Via;
  /**
   * Runs before the request is checked. An error that it throws becomes the answer; method and target may be replaced
   * here, and the checks then see the new ones.
   */
  readonly prepare: (request: IncomingMessage) => void;
}

export interface PlainSide {
  serve(handler: PlainHandler, options: ServeOptions): RequestListener;
  /** Refuses whatever arrives. Default: because shutdown has begun in earnest. */
  refuse(refusal?: GatewayError): RequestListener;
}

export function createPlainSide(options: PlainSideOptions): PlainSide {
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
