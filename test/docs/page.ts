/** Reads a Markdown page as its readers meet it: headings, links, and fenced blocks with what their fence says. */

import { readFileSync } from "node:fs";

export interface Fence {
  readonly language: string;
  /** What follows the language: `gateway`, `fragment` … */
  readonly kind: string;
  readonly text: string;
  /** Of the fence, from 1. */
  readonly line: number;
}

export interface Page {
  readonly path: string;
  /** As GitHub makes them from headings. */
  readonly anchors: ReadonlySet<string>;
  /** Targets of links, outside of code. */
  readonly links: readonly string[];
  /** Code within sentences. */
  readonly codes: readonly string[];
  readonly fences: readonly Fence[];
  readonly text: string;
}

export function readPage(root: string, path: string): Page {
  return parsePage(path, readFileSync(`${root}/${path}`, "utf8"));
}

export function parsePage(path: string, text: string): Page {
  const fences: Fence[] = [];
  const prose: string[] = [];
  let open: { mark: string; language: string; kind: string; line: number; lines: string[] } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const fence = /^\s*(```+)\s*(\S*)\s*(.*?)\s*$/.exec(line);
    if (open !== undefined) {
      if (fence?.[1] === open.mark && fence[2] === "") {
        const { language, kind, lines } = open;
        fences.push({ language, kind, line: open.line, text: `${undent(lines).join("\n")}\n` });
        open = undefined;
      } else open.lines.push(line);
    } else if (fence !== null) {
      const [, mark = "", language = "", kind = ""] = fence;
      open = { mark, language, kind, line: index + 1, lines: [] };
    } else prose.push(line);
  }
  if (open !== undefined) throw new Error(`${path}: the block at line ${open.line} has no end`);
  const codes: string[] = [];
  const sentences = prose
    .join("\n")
    .replace(/<!--[\s\S]*?-->/g, "")
    .replace(/(`+)([^\n]*?[^`])\1(?!`)/g, (_, _mark, code: string) => {
      codes.push(code);
      return "``";
    });
  const links = [...sentences.matchAll(/\]\(([^()\s]+)\)/g)].map(([, target = ""]) => target);
  const headings = prose.filter((line) => /^#{1,6} /.test(line));
  return { path, anchors: anchorsOf(headings), links, codes, fences, text };
}

/** GitHub: lower case, letters, digits, `-`, `_` and blanks stay, a blank becomes `-`, a repeated one gets a number. */
function anchorsOf(headings: readonly string[]): Set<string> {
  const anchors = new Set<string>();
  for (const heading of headings) {
    const name = heading
      .replace(/^#+ /, "")
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "")
      .replaceAll(" ", "-");
    let anchor = name;
    for (let count = 1; anchors.has(anchor); count += 1) anchor = `${name}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

function undent(lines: readonly string[]): string[] {
  const depth = Math.min(...lines.filter((line) => line.trim() !== "").map((line) => line.search(/\S/)));
  return lines.map((line) => line.slice(Number.isFinite(depth) ? depth : 0));
}
