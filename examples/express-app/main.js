/** An Express app that takes authentication and delegation as middleware, and forwards nothing. */

import express from "express";
import { createDelegation, loadConfig } from "obo-gateway";

const delegation = await createDelegation(loadConfig(process.env));
const { authenticate, onBehalfOf, answerErrors } = delegation;

const app = express();
app.get("/health", (_request, response) => response.json({ ok: true }));
app.get(
  "/me",
  authenticate({ requiredScopes: ["access_as_user"] }),
  onBehalfOf("graph"),
  async (request, response) => {
    const me = await request.downstream.graph.get("/me");
    await me.stream(response);
  },
);
app.use(answerErrors);

// Keys and credential are there before the first caller is.
await delegation.warmUp();
const server = app.listen(process.env.PORT ?? 3000, "127.0.0.1", () =>
  console.log(JSON.stringify({ msg: "listening", port: server.address().port })),
);
process.once("SIGTERM", () => server.close(() => delegation.close()));
