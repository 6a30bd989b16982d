/** Express with http-proxy-middleware, which authenticates nobody. */

import { Agent, createServer } from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";
import { announce, settings } from "./peer.ts";

const app = express();
app.use(
  "/graph",
  createProxyMiddleware({
    target: settings().apiUrl,
    agent: new Agent({ keepAlive: true, maxSockets: 1024 }),
  }),
);
announce(createServer(app));
