/** Checks settings that are valid one by one and contradict each other, or the way Entra works. */

import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { createGateway } from "../gateway.ts";
import { unlinkedRoutes } from "../http/route-table.ts";
import { showApplication } from "./commands.ts";
import type { Examination } from "./examination.ts";
import { open } from "./opened.ts";
import { type Check, fault, ok, skipped, type Verdict, warning } from "./verdict.ts";

export function registrationChecks(examination: Examination): Check[] {
  return [
    { name: "assembly", run: () => checkAssembly(examination) },
    { name: "audiences", run: async () => checkAudiences(examination) },
    { name: "tenants", run: async () => checkTenants(examination) },
    { name: "paging-links", run: async () => checkPagingLinks(examination) },
  ];
}

/** The composition root itself, so that the doctor finds everything that the gateway would refuse. */
async function checkAssembly(examination: Examination): Promise<Verdict> {
  const { config, code, fetch, now, downstreamCa } = examination;
  const { downstreamApis } = config;
  try {
    const gateway = await createGateway(config, {
      ...code,
      fetch,
      now,
      logSink: { write() {} },
      ...(downstreamCa !== undefined && { downstreamCa }),
    });
    await gateway.close();
    const served = gateway.routes.map(
      ({ path, methods, answeredBy }) => `${methods.join(",")} ${path} (${answeredBy})`,
    );
    return ok(
      `${served.length} routes, ${Object.keys(downstreamApis).length} downstream APIs: ${served.join("; ")}`,
    );
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const opened = await open(examination);
    // The checks of the sources report those.
    const ofCredential = "error" in opened ? opened.error.faults.map(textOf) : [];
    const faults = error.faults.map(textOf).filter((text) => !ofCredential.includes(text));
    if (faults.length === 0) return skipped("needs a usable credential");
    return fault(`the gateway would not start: ${faults.join("; ")}`, "correct what is named");
  }
}

const textOf = ({ path, problem }: ConfigurationFault) => `${path}: ${problem}`;

/** Entra refuses a user assertion whose `aud` is not this application (AADSTS500131). */
function checkAudiences({ config, registration }: Examination): Verdict {
  const { audiences } = config.identity;
  const { clientId } = registration;
  const foreign = audiences.filter(
    (audience) => ![clientId, `api://${clientId}`].includes(audience.toLowerCase()),
  );
  const misspelt = audiences.filter(
    (audience) => audience !== audience.toLowerCase() && !foreign.includes(audience),
  );
  const commands = [showApplication(registration)];
  if (misspelt.length > 0)
    return fault(
      `identity.audiences holds ${misspelt.join(", ")} in other letters than the application's id`,
      `write ${clientId} and api://${clientId}: tokens carry lower case, and Entra exchanges no other spelling`,
      { commands },
    );
  if (foreign.length === audiences.length)
    return warning(
      `identity.audiences (${audiences.join(", ")}) does not hold this gateway's client id`,
      `add ${clientId} (v2 tokens) and api://${clientId} (v1 tokens), unless these are App ID URIs of this very application: Entra exchanges no other audience`,
      { commands },
    );
  return ok(audiences.join(", "));
}

function checkTenants({ config }: Examination): Verdict {
  const { tenantId, exchangeTenants: exchanged } = config.application;
  const { tenants } = config.identity;
  if (exchanged === "*") return ok("users of every accepted tenant are exchanged for");
  const missing = tenants.filter((tenant) => !exchanged.includes(tenant));
  if (missing.length === 0) return ok(tenants.join(", "));
  const which = missing.includes("*") ? "every tenant" : missing.join(", ");
  const value = missing.includes("*")
    ? "*"
    : [...exchanged.filter((tenant) => tenant !== tenantId), ...missing].join(";");
  return fault(
    `users of ${which} may call (identity.tenants), but exchanges are made for ${exchanged.join(", ")} alone`,
    `set AZURE_ADDITIONALLY_ALLOWED_TENANTS=${value}, or take them out of identity.tenants`,
  );
}

function checkPagingLinks({ config }: Examination): Verdict {
  const unlinked = unlinkedRoutes(config.http.publicUrl, config.listen.host, config.routes);
  if (unlinked.length === 0) return ok("lead back to the gateway, or no route leads to Graph");
  return warning(
    `the paging links (@odata.nextLink) of ${unlinked.join(", ")} will lead callers past the gateway to Graph, which does not take their token`,
    "set http.publicUrl to the address under which callers reach the gateway",
  );
}
