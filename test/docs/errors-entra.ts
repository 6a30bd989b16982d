/** Writes docs/errors-entra.md from the AADSTS table; with --check only says whether it is as the table has it. */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ACTOR_OF } from "../../src/errors.ts";
import { AADSTS, type Source } from "../../src/exchange/entra/codes.ts";

export const PAGE = fileURLToPath(new URL("../../docs/errors-entra.md", import.meta.url));

const SOURCES: Readonly<Record<Source, string>> = {
  captured: "seen in a recording of the real service",
  documented: "Entra's `reference-error-codes`",
  sdk: "source of Microsoft's libraries (MSAL, microsoft-identity-web)",
  reported: "public reports of users",
  uncertain: "the number is known, its meaning in a token request is inferred",
};

export function errorsPage(): string {
  const rows = AADSTS.flatMap((row) => row.numbers.map((number) => ({ ...row, number }))).sort(
    (one, other) => one.number - other.number,
  );
  const lines = rows.map(
    ({ number, code, reason, source, meaning, fix }) =>
      `| ${number} | ${ACTOR_OF[code]} | \`${code}\` | \`${reason}\` | ${cell(meaning)} | ${cell(fix)} | ${source} |`,
  );
  return [
    "# Entra's error numbers",
    "",
    "<!-- Written by `npm run docs` from src/exchange/entra/codes.ts. -->",
    "",
    `What the gateway and \`npm run doctor\` make of ${rows.length} AADSTS numbers: who must act, the code of the gateway's answer`,
    "([errors](errors.md)), the `reason` in logs, and what to do. Microsoft changes numbers and texts without notice, so a",
    "number only refines what status, `error`, `suberror` and `claims` say. A number that is not listed is decided by those:",
    "an unknown `invalid_grant` asks for a sign-in (`interaction_required`), an unknown `invalid_client` calls the operator",
    "(`client_rejected`). `tenant_not_onboarded` reads as `client_rejected` in the gateway's own tenant.",
    "",
    "| source | |",
    "|---|---|",
    ...Object.entries(SOURCES).map(([source, meaning]) => `| ${source} | ${meaning} |`),
    "",
    "| AADSTS | who must act | code | reason | meaning | what to do | source |",
    "|---|---|---|---|---|---|---|",
    ...lines,
    "",
  ].join("\n");
}

/** A placeholder in angle brackets would be HTML. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = errorsPage();
  if (!process.argv.includes("--check")) writeFileSync(PAGE, page);
  else if (readFileSync(PAGE, "utf8") !== page) {
    console.error("docs/errors-entra.md is not what the AADSTS table says; run: npm run docs");
    process.exitCode = 1;
  }
}
