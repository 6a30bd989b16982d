/** Several processes of the gateway on one port by node:cluster, whose primary hands them connections in turn. */

import cluster from "node:cluster";

const workers = Number(process.env.WORKERS);

cluster.setupPrimary({ exec: "dist/main.js" });
for (let n = 0; n < workers; n += 1) cluster.fork();

let isEnding = false;
cluster.on("exit", () => {
  if (!isEnding) process.exit(1);
});
process.on("SIGTERM", () => {
  isEnding = true;
  for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill("SIGTERM");
});
