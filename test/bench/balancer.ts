/** nginx in front of several processes of the gateway, as a balancer: connections kept, nothing buffered, nothing asked. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../support/free-port.ts";
import { programAt } from "../support/front.ts";
import { keepToServerCore } from "./processor.ts";
import { end, endWithUs } from "./server-process.ts";

const START_TRIES = 100;
const TEMPORARY = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

export interface Balancer {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Undefined where nginx is not on the machine. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer | undefined> {
  const program = programAt("nginx");
  if (program === undefined) return undefined;
  const directory = mkdtempSync(join(tmpdir(), "obo-bench-nginx-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove);
  const port = await freePort();
  const file = join(directory, "nginx.conf");
  // One process, so that its use of the processor is what the balancer costs.
  writeFileSync(
    file,
    `daemon off; master_process off; pid ${join(directory, "pid")};
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000; large_client_header_buffers 4 32k;
  ${TEMPORARY.map((name) => `${name}_temp_path ${join(directory, name)};`).join(" ")}
  upstream gateways {
    ${ports.map((one) => `server 127.0.0.1:${one};`).join(" ")}
    keepalive 256; keepalive_requests 1000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }
  }
}
`,
  );
  const child = spawn(program, ["-p", directory, "-c", file, "-e", "stderr"], { stdio: "inherit" });
  endWithUs(child);
  for (let tries = 0; !(await isListening(port)); tries += 1) {
    if (tries === START_TRIES || child.exitCode !== null) throw new Error("nginx does not come up");
    await sleep(50);
  }
  const pid = child.pid as number;
  keepToServerCore(pid);
  return {
    port,
    pid,
    async stop() {
      await end(child);
      remove();
    },
  };
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
