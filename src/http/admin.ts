/** The admin side: alive, ready, metrics. Not for the public: it asks for no token. */

import type { RequestListener } from "node:http";

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

export interface AdminPage {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Pages that never change and a stream of events, as the flow console has them. */
export interface AdminFeed {
  /** By path. The stream stands below the shortest of them, at `/events`. */
  readonly pages: Readonly<Record<string, AdminPage>>;
  viewers(count: number): void;
  /** @param send Newcomers see kept events of the time before. */
  onEvents(send: (events: readonly string[], isKept: boolean) => void): void;
}

/** The answer at a path of the admin side. */
export type AdminPages = (path: string) => Promise<AdminPage>;

const JSON_TYPE = "application/json; charset=utf-8";

export function adminPages({ checks, metrics }: AdminOptions): AdminPages {
  const json = (status: number, value: unknown) => ({
    status,
    contentType: JSON_TYPE,
    body: JSON.stringify(value),
  });
  return async (path) => {
    switch (path) {
      case "/livez":
        // Alive means only that the event loop turns: an outage elsewhere is no reason to be restarted.
        return json(200, { alive: true });
      case "/readyz": {
        const all = checks();
        const ready = all.every((check) => check.ready);
        return json(ready ? 200 : 503, { ready, checks: all });
      }
      case "/metrics":
        return { status: 200, contentType: metrics.contentType, body: await metrics.exposition() };
      default:
        return json(404, { paths: ["/livez", "/readyz", "/metrics"] });
    }
  };
}

/** The pages on a server of the program that embeds the gateway, in the thread that also does the work. */
export function adminListener(pages: AdminPages): RequestListener {
  return (request, response) => {
    const path = (request.url ?? "/").replace(/\?.*$/s, "");
    pages(path).then(
      ({ status, contentType, body }) => {
        response.writeHead(status, { "content-type": contentType, "cache-control": "no-store" });
        response.end(request.method === "HEAD" ? undefined : body);
      },
      () => response.writeHead(500, { "cache-control": "no-store" }).end(),
    );
  };
}
