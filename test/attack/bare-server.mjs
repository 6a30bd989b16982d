/** node:http and nothing else, with an answer as long as the gateway's refusal: what an attack costs any server of Node. */

import { createServer } from "node:http";

const body = JSON.stringify({ title: "No token", detail: "x".repeat(300) });
const fields = { "content-type": "application/problem+json", "content-length": Buffer.byteLength(body) };

const server = createServer((_request, response) => {
  response.writeHead(401, fields);
  response.end(body);
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => process.send(server.address().port));
process.on("disconnect", () => process.exit(0));
