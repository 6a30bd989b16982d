import { describe, expect, jest, test } from "@jest/globals";
import { createLinkRewriter } from "../../../src/downstream/graph/link-rewriter.ts";
import { gatewayLink } from "../../../src/downstream/graph/links.ts";

const BASE = { origin: "https://graph.example", path: "/v1.0" };
const MOUNT = "https://gateway.example/graph";
const rewriter = () =>
  createLinkRewriter({
    from: "https://graph.example/v1.0/",
    to: `${MOUNT}/`,
    rewrite: (link) => gatewayLink(BASE, MOUNT, link),
  });

/** The oracle: parses, changes and prints. It knows the usual spelling of a link alone, and so does the generator. */
function parseAndPrint(text: string): string {
  return JSON.stringify(
    JSON.parse(text, (name, value: unknown) => {
      const isLink = /@odata\.(?:nextLink|deltaLink)$/.test(name) && typeof value === "string";
      if (!isLink || !value.startsWith("https://graph.example/v1.0/")) return value;
      const leadsBelow = new URL(value).pathname.startsWith("/v1.0/");
      return leadsBelow ? MOUNT + value.slice("https://graph.example/v1.0".length) : value;
    }),
  );
}

function inPieces(bytes: Buffer, ends: readonly number[]): string {
  const one = rewriter();
  const out: Buffer[] = [];
  let at = 0;
  for (const end of [...ends, bytes.length]) {
    out.push(one.push(bytes.subarray(at, end)));
    at = end;
  }
  return Buffer.concat([...out, one.flush()]).toString("utf8");
}

// A failure prints the seed; SEED=<number> repeats it.
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);

function generator(start: number) {
  let state = start;
  /** Below the bound, by a linear congruential generator. */
  const below = (bound: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const oneOf = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const NAMES = [
    "@odata.nextLink",
    "@odata.deltaLink",
    "members@odata.nextLink",
    'quoted"@odata.nextLink',
    "ends in a backslash\\@odata.deltaLink",
    "@odata.nextLin",
    "odata.nextLink",
    "o",
    "@odata.@odata.nextLink",
    "@@odata.deltaLink",
    "@odata.nextLink ",
    "@odata.count",
    "@o",
    "value",
    "é@odata.nextLink",
  ];
  const TEXTS = [
    "https://graph.example/v1.0/me?$skip=10",
    "https://graph.example/v1.0/me/messages?$skiptoken=é%2F'\"\\x",
    "https://graph.example/v1.0/a.b/.c?x=/..",
    "https://graph.example/v1.0/a/../b",
    "https://graph.example/v1.0/../b",
    "https://graph.example/beta/me",
    "https://evil.example/v1.0/me",
    '"@odata.nextLink":"https://graph.example/v1.0/trap"',
    "@odata.nextLink",
    "\\",
    '"',
    "😀",
    "",
  ];
  const text = () => oneOf([...TEXTS, "x".repeat(below(30))]);
  const value = (depth: number): unknown => {
    const kind = below(depth > 3 ? 4 : 7);
    if (kind < 3) return text();
    if (kind === 3) return oneOf([0, -1.5, 1e21, true, false, null]);
    if (kind === 4) return Array.from({ length: below(4) }, () => value(depth + 1));
    return object(depth + 1);
  };
  const object = (depth: number): object =>
    Object.fromEntries(Array.from({ length: below(5) }, () => [oneOf(NAMES), value(depth)]));
  return { below, object };
}

describe(`documents of the generator (seed ${seed})`, () => {
  test("have the links that parsing and printing finds, wherever they are split", () => {
    const random = generator(seed);
    let changed = 0;
    for (let round = 0; round < 120; round++) {
      const text = JSON.stringify(random.object(0));
      const bytes = Buffer.from(text);
      const expected = parseAndPrint(text);
      if (expected !== text) changed++;
      for (let at = 0; at <= Math.min(bytes.length, 600); at++) {
        const got = inPieces(bytes, [at]);
        if (got !== expected)
          throw new Error(`seed ${seed}, round ${round}, split at ${at}:\n${got}\n${expected}`);
      }
      const ends = Array.from({ length: 8 }, () => random.below(bytes.length + 1)).sort((a, b) => a - b);
      expect(inPieces(bytes, ends)).toBe(expected);
    }
    expect(changed).toBeGreaterThan(8);
  });

  test("keep every other byte where they are printed with blanks, escapes and odd numbers", () => {
    const random = generator(seed + 1);
    for (let round = 0; round < 200; round++) {
      const text = JSON.stringify(random.object(0), null, 3)
        .replaceAll('": ', '"\t\r\n: ')
        .replaceAll("1e+21", "1.0E21");
      const bytes = Buffer.from(text);
      const got = inPieces(bytes, [random.below(bytes.length + 1)]);
      expect(JSON.stringify(JSON.parse(got))).toBe(parseAndPrint(text));
      // The links apart, the text is the same.
      const withoutLinks = (one: string) =>
        one.replace(/https:\/\/(?:graph\.example\/v1\.0|gateway\.example\/graph)\//g, "");
      expect(withoutLinks(got)).toBe(withoutLinks(text));
    }
  });
});

test.each(["@odata.nextLink", "@odata.deltaLink"])(
  "names that differ from %s in one letter hold no link",
  (name) => {
    for (let at = 0; at < name.length; at++) {
      const other = `${name.slice(0, at)}%${name.slice(at + 1)}`;
      for (const before of ["", "a", "ab", "abc"]) {
        const text = `{"${before}${other}":"https://graph.example/v1.0/me","id":"1234567890"}`;
        expect(inPieces(Buffer.from(text), [])).toBe(text);
      }
    }
  },
);

describe("a link", () => {
  const one = (link: string) => `{"@odata.nextLink":${link}}`;

  test.each([
    ["with escaped slashes", '"https:\\/\\/graph.example\\/v1.0\\/me?a=b\\/c"', `"${MOUNT}/me?a=b\\/c"`],
    [
      "with escaped letters behind its path",
      '"https://graph.example/v1.0/me?a=\\u00e9"',
      `"${MOUNT}/me?a=é"`,
    ],
    ["in capitals", '"HTTPS://GRAPH.example/v1.0/me"', `"${MOUNT}/me"`],
    ["with a file's dots", '"https://graph.example/v1.0/a.b/c..d?.."', `"${MOUNT}/a.b/c..d?.."`],
  ])("%s is changed", (_, link, expected) => {
    expect(inPieces(Buffer.from(one(link)), [])).toBe(one(expected));
  });

  test.each([
    ["out of the base by dots", '"https://graph.example/v1.0/../beta"'],
    ["out of the base by dots with escaped slashes", '"https:\\/\\/graph.example\\/v1.0\\/..\\/beta"'],
    ["out of the base by encoded dots", '"https://graph.example/v1.0/%2e%2e/beta"'],
    ["out of the base by escaped dots", '"https://graph.example/v1.0/\\u002e\\u002e/beta"'],
    ["to a host that begins alike", '"https://graph.example.evil.example/v1.0/me"'],
    ["to a user of that name", '"https://graph.example@evil.example/v1.0/me"'],
  ])("%s is left alone", (_, link) => {
    expect(inPieces(Buffer.from(one(link)), [])).toBe(one(link));
  });

  test.each([16_383, 16_384, 16_385])(
    "of %i bytes is changed if it is no longer than a request-target",
    (length) => {
      const link = `https://graph.example/v1.0/${"x".repeat(length - 29)}`;
      const text = `{"@odata.nextLink":"${link}","@odata.deltaLink":"https://graph.example/v1.0/me"}`;
      const first = length > 16_384 ? link : MOUNT + link.slice(26);
      const expected = `{"@odata.nextLink":"${first}","@odata.deltaLink":"${MOUNT}/me"}`;
      for (const ends of [[], [100], [19 + length], [20, 40, 16_000], [length - 1]]) {
        expect(inPieces(Buffer.from(text), ends)).toBe(expected);
      }
    },
  );
});

/** Counts the bytes that are read as words while `work` runs. */
function countingWords(work: () => void, count: (more: number) => void): void {
  const { getInt32 } = DataView.prototype;
  const reads = jest.spyOn(DataView.prototype, "getInt32").mockImplementation(function (
    this: DataView,
    at,
    isLittle,
  ) {
    count(4);
    return getInt32.call(this, at, isLittle);
  });
  try {
    work();
  } finally {
    reads.mockRestore();
  }
}

/** Counts the bytes of a chunk that are read or copied. */
function counting(bytes: Buffer, count: (more: number) => void): Buffer {
  return new Proxy(bytes, {
    get(target, name) {
      if (typeof name === "string" && /^\d+$/.test(name)) {
        count(1);
        return target[Number(name)];
      }
      const value: unknown = Reflect.get(target, name);
      if (name === "copy") {
        return (to: Buffer, at: number, start: number, end: number) => {
          count(end - start);
          return target.copy(to, at, start, end);
        };
      }
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("the work on a document", () => {
  const fill = (unit: string) => unit.repeat(Math.ceil(6_000 / unit.length));
  const link = "https://graph.example/v1.0/me";
  test.each([
    ["an ordinary page", `{"id":"AAMk","subject":"Hello","from":{"address":"ada@contoso.com"}},`],
    ["names of links as texts", '"@odata.nextLink",'],
    ["names of the other link as texts", '"@odata.deltaLink",'],
    ["beginnings of names", "@odata."],
    ["names but for their last letter", '"@odata.nextLin",'],
    ["signs", "@"],
    ["names and blanks", `"@odata.nextLink"${" ".repeat(500)}`],
    ["names, colons and blanks", `"@odata.nextLink":${" ".repeat(500)}`],
    ["links", `"@odata.nextLink":"${link}",`],
    ["links in another spelling", `"@odata.nextLink":"HTTPS://graph.example/v1.0/me",`],
    ["links with escapes", `"@odata.nextLink":"${link}\\u0041",`],
    ["links to elsewhere", '"@odata.nextLink":"https://evil.example/v1.0/me",'],
    ["empty links", '"@odata.nextLink":"",'],
    ["links without end", `"@odata.nextLink":"${"x".repeat(30_000)}`],
    ["backslashes", `"@odata.nextLink":"${"\\".repeat(9_000)}`],
    ["quotes that are escaped", '"@odata.nextLink":"\\"'],
  ])("of %s is a few looks at each byte, in whatever pieces it comes", (_, unit) => {
    const bytes = Buffer.from(fill(unit));
    for (const size of [1, 7, 4_096]) {
      let looks = 0;
      const count = (more: number) => (looks += more);
      countingWords(() => {
        const one = rewriter();
        for (let at = 0; at < bytes.length; at += size) {
          one.push(counting(bytes.subarray(at, at + size), count));
        }
        one.flush();
      }, count);
      expect(looks / bytes.length).toBeLessThan(12);
    }
  });
});
