/** Single changes to a source file, from its syntax tree, and the file with all of them in it, each behind a switch. */

import { parse } from "@babel/parser";

export interface Mutation {
  /** Of the changed piece of source, in UTF-16 units. Equal for a piece that is put in between. */
  readonly start: number;
  readonly end: number;
  readonly line: number;
  readonly kind: string;
  readonly original: string;
  readonly replacement: string;
  /** How the piece stands in the file: a statement cannot be chosen by an operator. */
  readonly shape: "expression" | "statement" | "return";
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly loc: { readonly start: { readonly line: number } };
  readonly [key: string]: unknown;
}

const OPPOSITES: Readonly<Record<string, readonly string[]>> = {
  "+": ["-"],
  "-": ["+"],
  "*": ["/"],
  "/": ["*"],
  "%": ["*"],
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "===": ["!=="],
  "!==": ["==="],
  "==": ["!="],
  "!=": ["=="],
  "&&": ["||"],
  "||": ["&&"],
  "&": ["|"],
  "|": ["&"],
  "<<": [">>"],
  ">>": ["<<"],
  ">>>": ["<<"],
};

const ASSIGNMENTS: Readonly<Record<string, string>> = {
  "+=": "-=",
  "-=": "+=",
  "*=": "/=",
  "/=": "*=",
  "||=": "&&=",
  "&&=": "||=",
  "??=": "&&=",
  "|=": "&=",
  "&=": "|=",
};

/** Calls that can be left out, or that have a neighbour. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ...["trim", "trimStart", "trimEnd", "toLowerCase", "toUpperCase", "sort", "reverse", "filter", "slice"].map(
    (name) => [name, ""] as const,
  ),
  ["startsWith", "endsWith"],
  ["endsWith", "startsWith"],
  ["some", "every"],
  ["every", "some"],
  ["min", "max"],
  ["max", "min"],
  ["indexOf", "lastIndexOf"],
  ["lastIndexOf", "indexOf"],
]);

/** Three words in a row are a sentence for people, which no code decides by. */
const PROSE = /[a-z]\S* \S+ \S*[a-z]/;
/** Their arguments are words and fields for people. */
const SPEAKING = /(?:Error|^log|\blog\.\w+|\blogger\.\w+)$/;

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string";

/** TypeScript's wrappings of an expression; all else of its own is types. */
const TRANSPARENT = new Set([
  "TSAsExpression",
  "TSSatisfiesExpression",
  "TSNonNullExpression",
  "TSInstantiationExpression",
]);

export function mutationsOf(source: string): readonly Mutation[] {
  const found: Mutation[] = [];
  const text = (node: Node) => source.slice(node.start, node.end);

  function add(
    node: Node,
    kind: string,
    replacement: string,
    shape: Mutation["shape"] = "expression",
    original = text(node),
  ): void {
    if (replacement === original) return;
    const { start, end } = node;
    found.push({ start, end, line: node.loc.start.line, kind, original, replacement, shape });
  }

  /** The node's source with one of its parts exchanged. */
  const exchanged = (node: Node, start: number, end: number, by: string) =>
    source.slice(node.start, start) + by + source.slice(end, node.end);

  function operator(node: Node, left: Node, right: Node, by: string): string {
    const between = source.slice(left.end, right.start);
    return exchanged(
      node,
      left.end,
      right.start,
      between.replace(node.operator as string, () => by),
    );
  }

  function condition(test: Node, loop: boolean): void {
    if (!loop) add(test, "condition", "true");
    add(test, "condition", "false");
  }

  function body(node: Node): void {
    const block = node.body as Node;
    if (block.type !== "BlockStatement") {
      if (block.type !== "Identifier" || block.name !== "undefined") add(block, "function", "undefined");
      return;
    }
    const statements = block.body as readonly Node[];
    const [first] = statements;
    if (first === undefined || node.kind === "constructor") return;
    // A single statement has a mutant of its own.
    if (statements.length === 1 && first.type !== "ReturnStatement" && !first.type.startsWith("For")) return;
    const at = { ...block, start: first.start, end: first.start };
    add(at, "function", "return;", "return", "");
  }

  /** `speaking` within what is said to people; `chained` for a part of an optional chain, which must stay in one piece. */
  function visit(node: Node, parent: Node | undefined, speaking: boolean, chained: boolean): void {
    const { type } = node;
    if (type.startsWith("TS") && !TRANSPARENT.has(type)) return;
    if (type === "ImportDeclaration" || type === "ExportAllDeclaration") return;
    if (type === "CallExpression" && (node.callee as Node).type === "Import") return;

    switch (type) {
      case "BinaryExpression":
      case "LogicalExpression": {
        const { left, right } = node as unknown as { left: Node; right: Node };
        for (const by of OPPOSITES[node.operator as string] ?? [])
          add(node, "operator", operator(node, left, right, by));
        if (node.operator === "??") {
          add(node, "default", text(left));
          add(node, "default", text(right));
        }
        break;
      }
      case "AssignmentExpression": {
        const by = ASSIGNMENTS[node.operator as string];
        if (by !== undefined)
          add(node, "operator", operator(node, node.left as Node, node.right as Node, by));
        break;
      }
      case "UpdateExpression": {
        const by = node.operator === "++" ? "--" : "++";
        add(node, "operator", text(node).replace(node.operator as string, by));
        break;
      }
      case "UnaryExpression":
        if (node.operator === "!") add(node, "negation", text(node.argument as Node));
        if (node.operator === "-") add(node, "negation", text(node.argument as Node));
        break;
      case "BooleanLiteral":
        add(node, "constant", String(!node.value));
        break;
      case "NumericLiteral": {
        const value = node.value as number;
        add(node, "constant", String(value < 10 ? value + 1 : value * 2));
        break;
      }
      case "StringLiteral": {
        const compared =
          parent?.type === "BinaryExpression" &&
          [parent.left, parent.right].some(
            (side) => isNode(side) && side.type === "UnaryExpression" && side.operator === "typeof",
          );
        // `typeof x === ""` says no more than the operator's own mutant.
        if (!speaking && !compared && !PROSE.test(node.value as string))
          add(node, "constant", node.value === "" ? '"mutated"' : '""');
        break;
      }
      case "TemplateLiteral":
        if (!speaking && !PROSE.test(text(node)) && parent?.type !== "TaggedTemplateExpression")
          add(node, "constant", text(node) === "``" ? '"mutated"' : '""');
        break;
      case "RegExpLiteral":
        for (const by of patternsBeside(node.pattern as string, node.flags as string))
          add(node, "pattern", by);
        break;
      case "ArrayExpression":
        if ((node.elements as readonly unknown[]).length > 0) add(node, "constant", "[]");
        break;
      case "ObjectExpression":
        if ((node.properties as readonly unknown[]).length > 0 && !speaking) add(node, "constant", "{}");
        break;
      case "IfStatement":
        condition(node.test as Node, false);
        break;
      case "ConditionalExpression":
        condition(node.test as Node, false);
        break;
      case "WhileStatement":
      case "DoWhileStatement":
      case "ForStatement":
        if (isNode(node.test)) condition(node.test, true);
        break;
      case "ExpressionStatement": {
        const { expression } = node as unknown as { expression: Node };
        if (expression.type !== "CallExpression" || (expression.callee as Node).type !== "Super")
          add(node, "statement", "", "statement");
        break;
      }
      case "ThrowStatement":
      case "ContinueStatement":
      case "BreakStatement":
        add(node, "statement", "", "statement");
        break;
      case "ReturnStatement":
        if (node.argument === null) add(node, "statement", "", "statement");
        break;
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
      case "ObjectMethod":
      case "ClassMethod":
        body(node);
        break;
      case "CallExpression":
        method(node, chained);
        break;
      case "OptionalMemberExpression":
      case "OptionalCallExpression":
        if (!chained) unchain(node);
        break;
    }

    for (const [key, child] of Object.entries(node)) {
      if (key === "loc" || key === "typeAnnotation" || key === "typeParameters" || key === "returnType")
        continue;
      // Names of fields, in objects and in patterns; and where a module lies.
      if ((key === "key" || key === "property") && node.computed !== true) continue;
      if (key === "source" && type.startsWith("Export")) continue;
      const says =
        speaking ||
        ((type === "NewExpression" || type === "CallExpression") &&
          key === "arguments" &&
          SPEAKING.test(text(node.callee as Node)));
      const inChain =
        type.startsWith("Optional") && (key === "object" || key === "callee")
          ? true
          : chained && isLink(type, key);
      for (const each of Array.isArray(child) ? child : [child])
        if (isNode(each)) visit(each, node, says, inChain);
    }
  }

  const isLink = (type: string, key: string) =>
    (type === "MemberExpression" && key === "object") || (type === "CallExpression" && key === "callee");

  function method(node: Node, chained: boolean): void {
    const callee = node.callee as Node;
    if (callee.type !== "MemberExpression" || callee.computed === true || chained) return;
    const property = callee.property as Node;
    const by = METHODS.get(property.name as string);
    if (by === undefined) return;
    if (by === "") add(node, "call", text(callee.object as Node));
    else add(node, "call", exchanged(node, property.start, property.end, by));
  }

  /** The chain without one of its question marks at a time. */
  function unchain(chain: Node): void {
    for (let link: Node | undefined = chain; link !== undefined; ) {
      const inner = (link.object ?? link.callee) as Node | undefined;
      if (link.optional === true && inner !== undefined) {
        const called = link.type === "OptionalCallExpression" || link.computed === true;
        const at = source.indexOf("?.", inner.end);
        add(chain, "chain", exchanged(chain, at, at + 2, called ? "" : "."));
      }
      link = inner;
    }
  }

  visit(
    parse(source, { sourceType: "module", plugins: ["typescript"] }).program as unknown as Node,
    undefined,
    false,
    false,
  );
  return found;
}

/** Patterns that differ in one place from a regular expression's. */
function patternsBeside(pattern: string, flags: string): readonly string[] {
  const beside: string[] = [];
  const put = (start: number, end: number, by: string) =>
    beside.push(pattern.slice(0, start) + by + pattern.slice(end));
  let inClass = false;
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] as string;
    if (char === "\\") {
      const next = pattern[at + 1] as string;
      if (/[dDwWsS]/.test(next))
        put(at + 1, at + 2, next === next.toLowerCase() ? next.toUpperCase() : next.toLowerCase());
      at++;
    } else if (inClass) {
      if (char === "]") inClass = false;
    } else if (char === "[") {
      inClass = true;
      if (pattern[at + 1] === "^") put(at + 1, at + 2, "");
      else put(at + 1, at + 1, "^");
    } else if (char === "^" || char === "$") put(at, at + 1, "");
    else if (char === "+") put(at, at + 1, "*");
    else if (char === "*") put(at, at + 1, "+");
    else if (char === "?" && pattern[at - 1] !== "(" && !/[+*?}]/.test(pattern[at - 1] as string))
      put(at, at + 1, "");
    else if (char === "(" && /^\(\?<?[=!]/.test(pattern.slice(at))) {
      const sign = pattern.slice(at).search(/[=!]/) + at;
      put(sign, sign + 1, pattern[sign] === "=" ? "!" : "=");
    } else if (char === "{") {
      const [count, least, comma, most] = /^\{(\d+)(,?)(\d*)\}/.exec(pattern.slice(at)) ?? [];
      if (count === undefined) continue;
      if (most !== "") put(at, at + count.length, `{${least}${comma}${Number(most) + 1}}`);
      put(
        at,
        at + count.length,
        `{${Number(least) + 1}${comma}${most === "" ? "" : Math.max(Number(most), Number(least) + 1)}}`,
      );
    }
  }
  const literals = beside.map((each) => `/${each}/${flags}`);
  if (flags.includes("i")) literals.push(`/${pattern}/${flags.replace("i", "")}`);
  return [...new Set(literals)].filter((literal) => {
    const end = literal.lastIndexOf("/");
    try {
      new RegExp(literal.slice(1, end), literal.slice(end + 1));
      return true;
    } catch {
      return false;
    }
  });
}

/** The source with every mutation in it; `$mutant(first + i)` chooses the i-th. */
export function withSwitches(source: string, mutations: readonly Mutation[], first: number): string {
  // Outer pieces before inner ones; what stands at the start of a piece before what fills it.
  const numbered = mutations
    .map((mutation, index) => ({ ...mutation, number: first + index }))
    .sort((a, b) => a.start - b.start || order(a) - order(b) || b.end - a.end);
  let next = 0;

  function order({ start, end }: Mutation): number {
    return start === end ? 0 : 1;
  }

  function render(start: number, end: number): string {
    let rendered = "";
    let at = start;
    for (;;) {
      const piece = numbered[next];
      if (piece === undefined || piece.start >= end || (piece.start === piece.end && piece.start > end))
        break;
      rendered += source.slice(at, piece.start);
      at = piece.end;
      const same = [piece];
      next++;
      for (;;) {
        const also = numbered[next];
        if (also?.start !== piece.start || also.end !== piece.end || also.shape !== piece.shape) break;
        same.push(also);
        next++;
      }
      const inner = piece.start === piece.end ? "" : render(piece.start, piece.end);
      if (piece.shape === "expression")
        rendered += `(${same.map((each) => `$mutant(${each.number})?(${each.replacement}):`).join("")}(${inner}))`;
      else if (piece.shape === "statement") rendered += `{if(!$mutant(${piece.number})){${inner}}}`;
      else rendered += `if($mutant(${piece.number}))return;`;
    }
    return rendered + source.slice(at, end);
  }

  return render(0, source.length);
}
