/** An Express app of another program: the whole gateway below a prefix, or authentication and delegation alone. */

import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import express, { type ErrorRequestHandler } from "express";
import { createDelegation, type DelegatedRequest, type Delegation } from "obo-gateway";
import supertest from "supertest";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import {
  createTestGateway,
  createTestSettings,
  type TestGateway,
  type TestSettings,
} from "../testing/gateway.ts";

const JOB = "7d4f2b1c-3a5e-4f60-8b9a-0c1d2e3f4a5b";

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());

async function listening(app: RequestListener): Promise<{ server: Server; url: string }> {
  const server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** What comes back until the connection closes. */
async function exchangeBytes(url: string, bytes: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  socket.write(bytes, "latin1");
  await once(socket, "close");
  return received;
}

/** Two requests in one packet, of which the first does not say unambiguously where it ends. */
const twoRequests = (line: string, token: string) =>
  [
    ["transfer-encoding: gzip, chunked", "0\r\n\r\n"],
    ["content-length: 2", "{}"],
  ]
    .map(
      ([framing, body]) =>
        `${line} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${token}\r\n${framing}\r\n\r\n${body}`,
    )
    .join("");

describe("a gateway that an Express app mounts below a prefix", () => {
  let gateway: TestGateway;
  let server: Server;
  let url: string;
  beforeAll(async () => {
    gateway = await createTestGateway({ emulator });
    const app = express();
    app.get("/health", (_request, response) => void response.send("the app's own"));
    app.use("/gateway/v1", gateway.app);
    app.use((_request, response) => void response.status(404).send("the app's own 404"));
    ({ server, url } = await listening(app));
  });
  afterAll(async () => {
    server.close();
    await gateway.close();
  });
  const get = (path: string) =>
    supertest(url)
      .get(path)
      .set("authorization", `Bearer ${emulator.mintUserToken({ user: "ada" })}`);

  test("forwards, answers by handlers, and refuses as it does with a server of its own", async () => {
    expect((await get("/gateway/v1/graph/me")).body).toMatchObject({ displayName: expect.any(String) });
    expect((await get("/gateway/v1/graph/me/../users")).status).not.toBe(200);
    expect((await get("/gateway/v1/graph/groups")).body).toMatchObject({ code: "target_forbidden" });
    expect((await get("/gateway/v1/nowhere")).body).toMatchObject({ code: "route_unknown" });
    const refused = await supertest(url).get("/gateway/v1/graph/me");
    expect([refused.status, refused.body.code]).toEqual([401, "token_missing"]);
    // In the form that Graph's SDKs read.
    expect(refused.body.error).toMatchObject({ code: "token_missing" });
  });

  test("runs nothing that came in one packet with a request of ambiguous framing", async () => {
    const token = emulator.mintUserToken({ user: "ada" });
    // The token is known from now on, so that what would run does so at once.
    await supertest(url).get("/gateway/v1/graph/me").set("authorization", `Bearer ${token}`).expect(200);
    emulator.requests.clear();
    const received = await exchangeBytes(url, twoRequests("GET /gateway/v1/graph/me", token));
    expect(received).toMatch(/^HTTP\/1\.1 400 .*^connection: close/ims);
    expect(emulator.requests.counts).toMatchObject({ graph: 0 });
  });

  test("leaves the app's routes alone", async () => {
    expect((await supertest(url).get("/health")).text).toBe("the app's own");
    expect((await get("/elsewhere")).text).toBe("the app's own 404");
    expect((await get("/graph/me")).text).toBe("the app's own 404");
  });

  test("points paging links at itself, prefix included", async () => {
    const { body } = await get("/gateway/v1/graph/me/messages");
    const next = String(body["@odata.nextLink"]);
    expect(next.startsWith(`${url}/gateway/v1/graph/me/messages?`)).toBe(true);
    expect((await get(next.slice(url.length))).status).toBe(200);
  });
});

describe("an Express app that takes authentication and delegation as middleware", () => {
  let settings: TestSettings;
  let delegation: Delegation;
  let counted = 0;
  let server: Server;
  let url: string;
  beforeAll(async () => {
    settings = await createTestSettings({ emulator });
    delegation = await createDelegation(settings.config, settings.parts);
    await delegation.warmUp();
    const { authenticate, onBehalfOf, answerErrors } = delegation;
    const app = express();
    app.get("/open", (_request, response) => void response.json({ open: true }));
    app.get("/who", authenticate({ requiredScopes: ["access_as_user"] }), (request, response) => {
      const { principal, correlationId } = request as DelegatedRequest;
      response.json({ oid: principal.objectId, correlationId });
    });
    app.get("/admin", authenticate({ requiredScopes: ["admin.read"] }), (_request, response) => {
      response.json({ never: true });
    });
    app.get("/name", authenticate(), onBehalfOf("graph"), async (request, response) => {
      const { downstream } = request as DelegatedRequest;
      const me = await downstream.graph?.get("/me");
      response.status(me?.status ?? 500).json(await me?.json());
    });
    app.get("/any", authenticate({ callers: "any", allowedClients: [JOB] }), (_request, response) => {
      response.json({ acted: true });
    });
    app.post("/count", authenticate(), (_request, response) => {
      counted += 1;
      response.end();
    });
    app.get("/broken", authenticate(), () => {
      throw new Error("the app's own failure");
    });
    const ownErrors: ErrorRequestHandler = (error, _request, response, _next) => {
      response.status(418).json({ message: error.message });
    };
    app.use(answerErrors, ownErrors);
    ({ server, url } = await listening(app));
  });
  afterAll(async () => {
    server.close();
    await delegation.close();
    await settings.close();
  });
  const get = (path: string, token?: string) => {
    const request = supertest(url).get(path);
    return token === undefined ? request : request.set("authorization", `Bearer ${token}`);
  };

  test("verifies tokens where the app asks for it, and answers refusals as problems", async () => {
    const token = emulator.mintUserToken({ user: "ada" });
    expect((await get("/open")).body).toEqual({ open: true });
    const who = await get("/who", token);
    expect(who.body.oid).toBe(emulator.users.ada.objectId);
    expect(who.headers["x-correlation-id"]).toBe(who.body.correlationId);
    const missing = await get("/who");
    expect([missing.status, missing.headers["www-authenticate"]]).toEqual([
      401,
      expect.stringMatching(/^Bearer/),
    ]);
    expect(missing.headers["content-type"]).toContain("application/problem+json");
    expect((await get("/admin", token)).body).toMatchObject({ code: "scope_insufficient", status: 403 });
    expect((await get("/who", `${token}x`)).body).toMatchObject({ code: "token_rejected" });
  });

  test("runs nothing that came in one packet with a request of ambiguous framing", async () => {
    const token = emulator.mintUserToken({ user: "ada" });
    await get("/who", token).expect(200);
    const received = await exchangeBytes(url, twoRequests("POST /count", token));
    expect(received).toMatch(/^HTTP\/1\.1 400 .*^connection: close/ims);
    expect(counted).toBe(0);
  });

  test("exchanges the caller's token when the app calls the API, once for many calls", async () => {
    const token = emulator.mintUserToken({ user: "grace" });
    emulator.requests.clear();
    for (let call = 0; call < 3; call += 1)
      expect((await get("/name", token)).body).toMatchObject({ id: emulator.users.grace.objectId });
    expect(emulator.requests.counts.token).toBe(1);
  });

  test("answers a refusal of the exchange as a problem", async () => {
    const refusal = emulator.refuse({ code: 65001, user: "edsger" });
    try {
      const { status, body } = await get("/name", emulator.mintUserToken({ user: "edsger" }));
      expect([status, body.code]).toEqual([403, "consent_required"]);
    } finally {
      refusal.remove();
    }
  });

  test("lets no job act for itself that meant to act for a user", async () => {
    const job = emulator.mintUserToken({ appOnly: true, clientId: JOB });
    expect((await get("/any", job)).body).toEqual({ acted: true });
    const refused = await get("/any", job).set("delegation", "any");
    expect(refused.body).toMatchObject({ code: "target_forbidden", reason: "delegation_not_here" });
    const user = emulator.mintUserToken({ user: "ada", clientId: JOB });
    expect((await get("/any", user).set("delegation", "any")).body).toEqual({ acted: true });
  });

  test("leaves the app's errors to the app", async () => {
    const { status, body } = await get("/broken", emulator.mintUserToken({ user: "ada" }));
    expect([status, body.message]).toEqual([418, "the app's own failure"]);
  });

  test("writes a line for each request that it authenticates, without a token", async () => {
    await get("/who", emulator.mintUserToken({ user: "ada" }));
    expect(settings.logs.filter(({ msg }) => msg === "request").length).toBeGreaterThan(0);
    expect(JSON.stringify(settings.logs)).not.toMatch(/eyJ[A-Za-z0-9_-]{8,}/);
  });

  test("an API that the configuration lacks is a fault when the app is put together", () => {
    expect(() => delegation.onBehalfOf("grpah")).toThrow("no API named grpah");
  });
});
