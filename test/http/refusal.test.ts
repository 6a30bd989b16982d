import { describe, expect, test } from "@jest/globals";
import supertest from "supertest";
import { securityFields } from "../../src/http/public-side.ts";
import { createRefusal } from "../../src/http/refusal.ts";

const ORIGIN = "https://app.example";
const refusal = createRefusal({
  challenge: {
    clientId: "client",
    authorizeEndpoint: () => "https://login.example",
    resourceMetadata: undefined,
  },
  own: securityFields(),
  cors: { origins: [ORIGIN], maxAgeSeconds: 600, exposedHeaders: [] },
});

describe("whoever is refused without a look", () => {
  test.each([
    ["a request", "get", 503],
    ["a preflight", "options", 204],
  ] as const)("is told the gateway's own fields: %s", async (_, method, status) => {
    const { headers } = await supertest(refusal)
      [method]("/graph/me")
      .set({ origin: ORIGIN, "access-control-request-method": "GET", "x-correlation-id": "c-1" })
      .expect(status);
    expect(headers).toMatchObject({
      "access-control-allow-origin": ORIGIN,
      "x-content-type-options": "nosniff",
      "x-correlation-id": "c-1",
    });
  });
});
