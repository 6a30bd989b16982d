/** The admin port: alive, ready, metrics. Not for the public; it authenticates nobody. */

import express, { type Express } from "express";

/** One condition of readiness, with what an operator wants to know about it. */
export interface ReadinessCheck {
  readonly name: string;
  readonly ready: boolean;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export interface AdminOptions {
  readonly checks: () => readonly ReadinessCheck[];
  readonly metrics: { readonly contentType: string; exposition(): Promise<string> };
}

export function createAdminApp({ checks, metrics }: AdminOptions): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use((_request, response, next) => {
    response.setHeader("cache-control", "no-store");
    next();
  });

  // Alive means only that the event loop turns: an outage elsewhere is no reason to be restarted.
  app.get("/livez", (_request, response) => {
    response.json({ alive: true });
  });

  app.get("/readyz", (_request, response) => {
    const all = checks();
    const ready = all.every((check) => check.ready);
    response.status(ready ? 200 : 503).json({ ready, checks: all });
  });

  app.get("/metrics", async (_request, response) => {
    response.setHeader("content-type", metrics.contentType);
    response.end(await metrics.exposition());
  });

  app.use((_request, response) => {
    response.status(404).json({ paths: ["/livez", "/readyz", "/metrics"] });
  });
  return app;
}
