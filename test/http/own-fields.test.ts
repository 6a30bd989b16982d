import type { Server } from "node:http";
import { expect, test } from "@jest/globals";
import express from "express";
import helmet from "helmet";
import supertest from "supertest";
import { sayOwnFields } from "../../src/http/pipeline.ts";
import { securityFields } from "../../src/http/public-side.ts";

async function fieldsOf(app: express.Express): Promise<Record<string, string>> {
  const { headers } = await supertest(app as unknown as Server).get("/");
  const { date: _, ...fields } = headers as Record<string, string>;
  return fields;
}

test("the gateway says in every answer what Helmet would, and the correlation id", async () => {
  const helmeted = express().use(helmet(), (_request, response) => void response.send("ok"));
  const own = express().disable("x-powered-by");
  own.use((_request, response) => {
    sayOwnFields(response, securityFields(), "an-id");
    response.send("ok");
  });
  const theirs = await fieldsOf(helmeted);
  expect(Object.keys(theirs)).toContain("content-security-policy");
  expect(await fieldsOf(own)).toEqual({ ...theirs, "x-correlation-id": "an-id" });
});
