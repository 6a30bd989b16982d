/** Results as text: one block a scenario, and all targets together at the end. */

import { type Column, isMet, type Result, type Target } from "./result.ts";

const NAME_WIDTH = 62;
const FIGURE_WIDTH = 11;

export function resultTable({ title, columns, rows, notes = [] }: Result): string {
  const lines = [
    title,
    "".padEnd(NAME_WIDTH) + columns.map(({ name }) => name.padStart(FIGURE_WIDTH)).join(""),
  ];
  for (const { name, figures } of rows) {
    const cells = columns.map((column, index) => figure(figures[index], column).padStart(FIGURE_WIDTH));
    lines.push(name.padEnd(NAME_WIDTH) + cells.join(""));
  }
  for (const note of notes) lines.push(`  ${note}`);
  return lines.join("\n");
}

export function targetTable(targets: readonly Target[]): string {
  const lines = [
    "targets".padEnd(NAME_WIDTH) +
      "measured".padStart(FIGURE_WIDTH) +
      "by CPU".padStart(FIGURE_WIDTH) +
      "target".padStart(FIGURE_WIDTH),
  ];
  for (const target of targets) {
    const { what, value, byProcessor, digits, limit } = target;
    const bound = "atLeast" in limit ? `≥ ${limit.atLeast}` : `≤ ${limit.atMost}`;
    lines.push(
      what.padEnd(NAME_WIDTH) +
        figure(value, { digits }).padStart(FIGURE_WIDTH) +
        (byProcessor === undefined ? "" : figure(byProcessor, { digits })).padStart(FIGURE_WIDTH) +
        bound.padStart(FIGURE_WIDTH) +
        (isMet(target) ? "  met" : "  missed"),
    );
  }
  return lines.join("\n");
}

function figure(value: number | undefined, { digits, unit = "" }: Omit<Column, "name">): string {
  return value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits) + unit;
}
