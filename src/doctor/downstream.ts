/** Checks that a downstream API answers, over the same connections and address rules as a forwarded request. */

import type { DownstreamApiOptions } from "../downstream/contract.ts";
import { joinBase, readBaseUrl } from "../downstream/target/downstream-api.ts";
import { createTransport } from "../downstream/transport/pool.ts";
import { GatewayError } from "../errors.ts";
import { ANSWER_LIMIT_MS, type Examination } from "./examination.ts";
import { silenceOf } from "./network.ts";
import { fault, ok, type Verdict, warning } from "./verdict.ts";

/** One GET of the base URL, without a token: any status proves name, address, TLS and HTTP. */
export async function checkDownstream(api: DownstreamApiOptions, examination: Examination): Promise<Verdict> {
  try {
    const status = await statusOf(api, examination);
    const facts = { url: api.baseUrl, status };
    if (status >= 500)
      return warning(
        `${api.baseUrl} answers, with status ${status}`,
        "look at that API: it answers with an error before it sees a token",
        { facts },
      );
    return ok(`${api.baseUrl} answers (status ${status} without a token)`, { facts });
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return explainFailure(api, error);
  }
}

function explainFailure({ name, baseUrl }: DownstreamApiOptions, error: GatewayError): Verdict {
  const facts = { url: baseUrl };
  const { hostname } = new URL(baseUrl);
  if (error.reason === "private_address")
    return fault(
      `${hostname} has a private address, which downstreamApis.${name} does not allow`,
      `set downstreamApis.${name}.allowPrivateNetwork: true if the API is meant to be inside the network; otherwise correct baseUrl or DNS`,
      { facts, commands: [`getent ahosts ${hostname}`] },
    );
  const { finding, fix } = silenceOf(error.reason ?? "timeout");
  return fault(`${baseUrl} cannot be reached: ${finding}`, fix, {
    facts,
    commands: [`curl -sv ${baseUrl}`],
  });
}

function statusOf(
  api: DownstreamApiOptions,
  { config, downstreamCa: ca, proxyFor }: Pick<Examination, "config" | "downstreamCa" | "proxyFor">,
): Promise<number> {
  const base = readBaseUrl(api);
  const transport = createTransport({
    apis: [api],
    ...config.transport,
    fairness: { userShare: 1, clientShare: 1 },
    proxyFor,
    ...(ca !== undefined && { ca }),
  });
  const answered = new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => {
      transfer.abort();
      reject(
        new GatewayError("downstream_timeout", {
          detail: "The API did not answer in time.",
          reason: "timeout",
        }),
      );
    }, ANSWER_LIMIT_MS);
    const transfer = transport.send(
      {
        target: { api, origin: base.origin, path: joinBase(base, "") },
        method: "GET",
        headers: ["accept", "application/json", "user-agent", "obo-gateway-doctor"],
        body: undefined,
      },
      {
        head(status) {
          clearTimeout(timer);
          resolve(status);
        },
        chunk() {},
        end() {},
        failed(error) {
          clearTimeout(timer);
          reject(error);
        },
      },
    );
  });
  return answered.finally(() => transport.destroy());
}
