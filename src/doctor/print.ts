/** A report as people read it. */

import type { CheckedVerdict, Report } from "./diagnose.ts";

/** One verdict: what was found, and below it, what to do. Facts are left to `--json` but where they are to be compared. */
export function verdictText(verdict: CheckedVerdict): string {
  const { outcome, check, about, finding, fix, commands = [], facts = {} } = verdict;
  const lines = [`${outcome.padEnd(7)}  ${check}${about === undefined ? "" : ` (${about})`}: ${finding}`];
  if (fix !== undefined) lines.push(`         fix: ${fix}`);
  if (commands.length > 0 || outcome === "fault" || outcome === "warning")
    for (const [name, value] of Object.entries(facts)) lines.push(`           ${name}: ${value}`);
  for (const command of commands) lines.push(`           $ ${command}`);
  return lines.join("\n");
}

/** How many faults there are, and which checks found them: what is far above has scrolled away. */
export function conclusionText({ works, summary, verdicts }: Report): string {
  const counted = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const tally = `${counted(summary.fault, "fault")}, ${counted(summary.warning, "warning")}, ${counted(summary.skipped, "check")} skipped`;
  if (works) return `The gateway would work: ${tally}.`;
  const where = verdicts
    .filter(({ outcome }) => outcome === "fault")
    .map(({ check, about }) => (about === undefined ? check : `${check} (${about})`));
  return `The gateway would not work: ${tally}. Faults: ${[...new Set(where)].join(", ")}.`;
}
