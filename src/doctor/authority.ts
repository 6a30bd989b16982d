/** Checks that the authority answers and is the configured one, that its clock and ours agree, and that its signing keys can be read. */

import { GatewayError } from "../errors.ts";
import { numbersOf } from "../exchange/entra/answers.ts";
import { type BoundedResponse, boundedFetch } from "../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../foundation/json.ts";
import { fetchSigningKeys } from "../identity/signing-keys.ts";
import { explain } from "./aadsts.ts";
import { ANSWER_LIMIT_MS, type Examination } from "./examination.ts";
import { silenceOf, silenceOfError } from "./network.ts";
import { proxyHint } from "./proxy.ts";
import { type Check, fault, ok, once, skipped, type Verdict, warning } from "./verdict.ts";

/** A clock that is off by less is not worth a warning. */
const CLOCK_NOTICE_MS = 10_000;

const MAX_DOCUMENT_BYTES = 512 * 1024;

interface Metadata {
  readonly answer: BoundedResponse;
  /** Half-way between question and answer, ms since the epoch. */
  readonly askedAt: number;
}

/** One pair of checks for each tenant whose keys the gateway will read, and one for the clock. */
export function authorityChecks(examination: Examination): Check[] {
  const { config, authority, fetch, now } = examination;
  const { tenants } = config.identity;
  // As the key sets do it: with `*` the documents of `common` serve every tenant.
  const documents = tenants.includes("*") ? ["common"] : tenants;
  const home = config.application.tenantId;
  const read = (tenant: string) =>
    once(async (): Promise<Metadata> => {
      const began = now();
      const answer = await boundedFetch(fetch, authority.metadataUrl(tenant, "2.0"), {
        headers: { accept: "application/json" },
        timeoutMs: ANSWER_LIMIT_MS,
        maxBytes: MAX_DOCUMENT_BYTES,
      });
      return { answer, askedAt: (began + now()) / 2 };
    });
  const metadataOf = new Map([home, ...documents].map((tenant) => [tenant, read(tenant)]));

  return [
    ...[...metadataOf].map(
      ([tenant, metadata]): Check => ({
        name: "discovery",
        about: tenant,
        run: () => checkDiscovery(examination, tenant, metadata),
      }),
    ),
    {
      name: "clock",
      run: async () =>
        checkClock(
          examination,
          await metadataOf
            .get(home)?.()
            .catch(() => undefined),
        ),
    },
    ...documents.map(
      (tenant): Check => ({
        name: "signing-keys",
        about: tenant,
        run: () => checkSigningKeys(examination, tenant, metadataOf.get(tenant)),
      }),
    ),
  ];
}

const issuersOf = ({ authority }: Examination, tenant: string): readonly string[] =>
  authority.issuers(tenant === "common" ? "{tenantid}" : tenant, "2.0");

async function checkDiscovery(
  examination: Examination,
  tenant: string,
  metadata: () => Promise<Metadata>,
): Promise<Verdict> {
  const { authority, registration } = examination;
  const url = authority.metadataUrl(tenant, "2.0");
  let answer: BoundedResponse;
  try {
    ({ answer } = await metadata());
  } catch (error) {
    const { finding, fix } = silenceOfError(error);
    return fault(`${url} cannot be read: ${finding}`, fix + proxyHint(examination.config, new URL(url)), {
      commands: [`curl -sv ${url}`],
    });
  }
  const document = parseJsonObject(answer.text);
  const explained = explain(numbersOf(document), { registration, resource: "" });
  if (explained !== undefined)
    return fault(`Entra refuses tenant ${tenant}: ${explained.meaning}`, explained.fix, {
      commands: explained.commands,
    });
  if (answer.status !== 200 || document === undefined)
    return fault(
      `${url} answers with status ${answer.status} and ${document === undefined ? "no JSON object" : "no metadata"}`,
      "find out what answers instead of Entra (a proxy, a captive portal); check AZURE_AUTHORITY_HOST",
      { commands: [`curl -sv ${url}`] },
    );
  const issuers = issuersOf(examination, tenant);
  const { issuer } = document;
  if (typeof issuer !== "string" || !issuers.includes(issuer))
    return fault(
      `the metadata names another issuer than the configured authority has: expected ${issuers.join(" or ")}, found ${printable(issuer)}`,
      "set AZURE_AUTHORITY_HOST to the host that issues this tenant's tokens, and AZURE_TENANT_ID to its id",
      { commands: ["az cloud show --query endpoints.activeDirectory -o tsv"] },
    );
  return ok(`issuer ${issuer}`, { facts: { url, issuer } });
}

function checkClock(examination: Examination, metadata: Metadata | undefined): Verdict {
  const date = Date.parse(metadata?.answer.headers.get("date") ?? "");
  if (metadata === undefined || Number.isNaN(date))
    return skipped("the authority's answer has no Date field");
  // The header counts whole seconds, so on average the time is half of one later.
  const offsetMs = Math.round(metadata.askedAt - (date + 500));
  const facts = { offsetSeconds: Math.round(offsetMs / 1000) };
  const size = Math.abs(offsetMs);
  const seconds = Math.round(size / 1000);
  const side = offsetMs > 0 ? "ahead of" : "behind";
  const fix = "synchronise this machine's clock (NTP, chrony; on AKS the node's)";
  const tolerance = examination.config.identity.clockToleranceSeconds;
  if (size > Math.max(tolerance * 1000, CLOCK_NOTICE_MS))
    return fault(
      `this machine's clock is ${seconds} s ${side} Entra's: client assertions and users' tokens will be refused`,
      fix,
      { facts, commands: ["timedatectl status"] },
    );
  if (size > CLOCK_NOTICE_MS)
    return warning(`this machine's clock is ${seconds} s ${side} Entra's`, fix, {
      facts,
      commands: ["timedatectl status"],
    });
  return ok(`within ${Math.max(1, seconds)} s of Entra's`, { facts });
}

async function checkSigningKeys(
  examination: Examination,
  tenant: string,
  metadata: (() => Promise<Metadata>) | undefined,
): Promise<Verdict> {
  const { authority, fetch } = examination;
  const reached = await metadata?.().then(
    ({ answer }) => answer.status === 200,
    () => false,
  );
  if (reached !== true) return skipped("needs the discovery document");
  try {
    const { keys } = await fetchSigningKeys(
      {
        metadataUrl: authority.metadataUrl(tenant, "2.0"),
        issuers: issuersOf(examination, tenant),
        isTrusted: (url) => authority.isTrusted(url, tenant),
        cloudInstanceName: authority.cloudInstanceName,
      },
      { fetch, timeoutMs: ANSWER_LIMIT_MS, signal: new AbortController().signal },
    );
    return ok(`${keys.size} usable keys`, { facts: { keys: keys.size } });
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    const reason = error.reason ?? "network";
    const known = KEY_FAULTS[reason];
    if (known !== undefined) return fault(...known);
    const { finding, fix } = reason === "network" ? silenceOfError(error) : silenceOf(reason);
    return fault(`the signing keys cannot be read: ${finding}`, fix);
  }
}

const KEY_FAULTS: Readonly<Record<string, [finding: string, fix: string]>> = {
  issuer: [
    "the keys belong to another issuer than the configured authority has",
    "set AZURE_AUTHORITY_HOST to the host that issues this tenant's tokens",
  ],
  jwks_uri: [
    "the metadata points to keys on another host, or to none",
    "find out what answers instead of Entra: a proxy rewrites the document",
  ],
  no_keys: [
    "the authority publishes no RSA signing key of this cloud",
    "set AZURE_AUTHORITY_HOST to the cloud that the tenant lives in",
  ],
  status: [
    "the keys are answered with an error status",
    "run the doctor again in a minute; if it stays, look for a proxy on the way",
  ],
  content: [
    "what is published as keys is no JSON",
    "find out what answers instead of Entra: a proxy, a captive portal",
  ],
};

/** Text of a document, short and without what a terminal would act on. */
function printable(value: unknown): string {
  return typeof value === "string" ? value.replaceAll(/[^\x20-\x7E]/g, "?").slice(0, 200) : "none";
}
