/** Checks that the ports of both listeners are free. */

import { ConfigurationError } from "../errors.ts";
import { type Listening, listen } from "../http/server.ts";
import type { Examination } from "./examination.ts";
import { sentence } from "./opened.ts";
import { fault, ok, type Verdict } from "./verdict.ts";

/** Both at once, as the gateway takes them: two settings of the same port would each be free by itself. */
export async function checkPorts({ config }: Examination): Promise<Verdict> {
  const { host, port, adminPort } = config.listen;
  const refuse = () => {};
  const { connections } = config.http;
  const open: Listening[] = [];
  try {
    open.push(await listen(refuse, { host, port, setting: "PORT", refuse, connections }));
    open.push(await listen(refuse, { host, port: adminPort, setting: "ADMIN_PORT", refuse, connections }));
    return ok(`${host}:${port} and ${host}:${adminPort} are free`);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return fault(
      sentence(error),
      "free the port or set another one; beside a running gateway add --skip ports",
      { commands: ["ss -ltnp"] },
    );
  } finally {
    await Promise.all(open.map((listening) => listening.drain(0)));
  }
}
