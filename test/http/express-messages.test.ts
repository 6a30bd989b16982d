import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { expect, test } from "@jest/globals";
import express from "express";
import supertest from "supertest";
import { messageClasses } from "../../src/http/server.ts";

test("messages come with the prototypes that Express would give them, before Express has seen them", async () => {
  const app = express();
  app.get("/", (request, response) => {
    response.json({ ip: request.ip !== undefined, app: request.app === app && response.app === app });
  });
  const before: boolean[] = [];
  const server = createServer(messageClasses(app), (request: IncomingMessage, response: ServerResponse) => {
    before.push(
      Object.getPrototypeOf(request) === app.request,
      Object.getPrototypeOf(response) === app.response,
    );
    app(request, response);
  });
  // Express' own methods work on them as on any others.
  await supertest(server).get("/").expect(200, { ip: true, app: true });
  expect(before).toEqual([true, true]);
});

test("a listener that is no Express app gets node:http's own classes", () => {
  expect(messageClasses(() => {})).toEqual({});
});
