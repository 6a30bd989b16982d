/** A report as people read it. */

import type { CheckedVerdict, Report } from "./diagnose.ts";

/** One verdict: what was found, and below it, what to do. Facts are left to `--json` but where they are to be compared. */
export function verdictText(verdict: CheckedVerdict): string {
  const { outcome, check, about, finding, mend, commands = [], facts = {} } = verdict;
  const lines = [`${outcome.padEnd(7)}  ${check}${about === undefined ? "" : ` (${about})`}: ${finding}`];
  if (mend !== undefined) lines.push(`         mend: ${mend}`);
  if (commands.length > 0 || outcome === "fault" || outcome === "warning")
    for (const [name, value] of Object.entries(facts)) lines.push(`           ${name}: ${value}`);
  for (const command of commands) lines.push(`           $ ${command}`);
  return lines.join("\n");
}

export function conclusionText({ works, verdicts }: Report): string {
  const count = (wanted: string, noun: string) => {
    const found = verdicts.filter(({ outcome }) => outcome === wanted).length;
    return `${found} ${noun}${found === 1 ? "" : "s"}`;
  };
  const tally = `${count("fault", "fault")}, ${count("warning", "warning")}, ${count("skipped", "check")} skipped`;
  return works ? `The gateway would work: ${tally}.` : `The gateway would not work: ${tally}.`;
}
