import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import type * as Undici from "../../src/outbound/undici.ts";

const TOKEN = "Bearer token-of-one-user";

let origin = "";
let seen: (IncomingHttpHeaders & { readonly url: string | undefined })[] = [];
const api = createServer((request, response) => {
  seen.push({ ...request.headers, url: request.url });
  response.end();
});

beforeAll(async () => {
  api.listen(0, "127.0.0.1");
  await once(api, "listening");
  origin = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
});

afterAll(() => {
  api.close();
});

const load = () => import("../../src/outbound/undici.ts");

type Options = Parameters<typeof Undici.dispatchAuthorized>[1];

/** Resolves with undici's error, or with nothing once the answer has ended. */
function ended(dispatch: (handler: Undici.Dispatcher.DispatchHandler) => void): Promise<Error | undefined> {
  return new Promise((resolve) =>
    dispatch({
      onRequestStart() {},
      onResponseStart() {},
      onResponseEnd: () => resolve(undefined),
      onResponseError: (_controller, error) => resolve(error),
    }),
  );
}

const asking = (headers: string[] = []): Options => ({ origin, method: "GET", path: "/me", headers });

async function withClient<T>(
  { Client }: Awaited<ReturnType<typeof load>>,
  run: (client: Undici.Client) => Promise<T>,
) {
  seen = [];
  const client = new Client(origin);
  try {
    return await run(client);
  } finally {
    await client.destroy();
  }
}

describe("a request with an Authorization field that has been checked", () => {
  test("carries it once, beside its other fields", async () => {
    const undici = await load();
    await withClient(undici, (client) =>
      ended((handler) => undici.dispatchAuthorized(client, asking(["x-name", "value"]), TOKEN, handler)),
    );
    expect(seen).toEqual([expect.objectContaining({ authorization: TOKEN, "x-name": "value" })]);
  });

  test("leaves it to no later request, of undici or of Node's fetch", async () => {
    const undici = await load();
    await withClient(undici, async (client) => {
      await ended((handler) => undici.dispatchAuthorized(client, asking(), TOKEN, handler));
      await ended((handler) => client.dispatch(asking(), handler));
      await fetch(`${origin}/me`);
    });
    expect(seen.map(({ authorization }) => authorization)).toEqual([TOKEN, undefined, undefined]);
  });

  test("takes it along when undici refuses the request, so that the next one does not get it", async () => {
    const undici = await load();
    const refusal = await withClient(undici, async (client) => {
      const error = await ended((handler) =>
        undici.dispatchAuthorized(client, asking(["x-name", "two\r\nlines"]), TOKEN, handler),
      );
      await ended((handler) => client.dispatch(asking(), handler));
      return error;
    });
    expect(refusal?.message).toBe("invalid x-name header");
    expect(seen.map(({ authorization }) => authorization)).toEqual([undefined]);
  });

  test("keeps it from a request that another listener of undici makes meanwhile", async () => {
    jest.resetModules();
    const { Client } = await load();
    const reports = new Client(origin);
    let reported: Promise<unknown> | undefined;
    const report = (message: unknown) => {
      if ((message as { request: { path: string } }).request.path !== "/me") return;
      reported = ended((handler) => reports.dispatch({ ...asking(), path: "/reports" }, handler));
    };
    subscribe("undici:request:create", report);
    // Loaded after that listener, so that it hears of each request later.
    jest.resetModules();
    const undici = await load();
    await withClient(undici, async (client) => {
      await ended((handler) => undici.dispatchAuthorized(client, asking(), TOKEN, handler));
      await reported;
    });
    unsubscribe("undici:request:create", report);
    await reports.destroy();
    const authorizations = Object.fromEntries(seen.map(({ url, authorization }) => [url, authorization]));
    expect(authorizations).toEqual({ "/me": TOKEN, "/reports": undefined });
  });

  test("carries it in line behind a request that is still under way", async () => {
    const undici = await load();
    await withClient(undici, (client) =>
      Promise.all([
        ended((handler) => undici.dispatchAuthorized(client, asking(), TOKEN, handler)),
        ended((handler) => undici.dispatchAuthorized(client, asking(), "Bearer of-another", handler)),
      ]),
    );
    expect(seen.map(({ authorization }) => authorization)).toEqual([TOKEN, "Bearer of-another"]);
  });

  test("carries it among its fields where undici does not publish what it makes", async () => {
    jest.resetModules();
    jest.unstable_mockModule("node:diagnostics_channel", () => ({ subscribe() {} }));
    const undici = await load();
    await withClient(undici, (client) =>
      ended((handler) => undici.dispatchAuthorized(client, asking(["x-name", "value"]), TOKEN, handler)),
    );
    expect(seen).toEqual([expect.objectContaining({ authorization: TOKEN, "x-name": "value" })]);
  });
});
