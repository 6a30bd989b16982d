/** Parser for `WWW-Authenticate` (RFC 9110 §11.6.1) that real servers' mistakes cannot throw off. */

/** One challenge of a list: a scheme and what belongs to it alone. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  readonly token68: string | undefined;
  /** Names in lower case, values unquoted. */
  readonly parameters: ReadonlyMap<string, string>;
  /** False when a parameter stands twice or something in it is no parameter at all: do not act on such a challenge. */
  readonly wellFormed: boolean;
}

/** Bytes of all field lines together. Past it nothing is parsed, for no genuine challenge comes near. */
const MAX_LENGTH = 8192;

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const BLANKS = /[ \t]*/y;
/** Must be followed by the end of the challenge; otherwise it was the first parameter's name. */
const TOKEN68 = /([A-Za-z0-9\-._~+/]+=*)[ \t]*(?=,|$)/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
/** Wider than RFC 9110's token, because real servers leave URLs without quotes. */
const BARE_VALUE = /[^\s,"]*/y;
const REST_OF_ELEMENT = /[^,]*/y;

/**
 * Challenges in the order of the header. Several field lines are one list. Never throws: what cannot be read is
 * skipped up to the next comma, and the challenge it stood in is marked.
 */
export function parseChallenges(value: string | readonly string[] | undefined): readonly Challenge[] {
  const text = typeof value === "string" ? value : (value ?? []).join(",");
  if (text.length > MAX_LENGTH) return [];
  const challenges: Draft[] = [];
  let current: Draft | undefined;
  let at = 0;
  // Only behind a comma may a word be a scheme; elsewhere it is a piece of a value that should have been quoted.
  let startsElement = true;

  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };

  while (at < text.length) {
    take(BLANKS);
    if (text[at] === ",") {
      at++;
      startsElement = true;
      continue;
    }
    const word = take(TOKEN)?.[0].toLowerCase();
    const afterWord = at;
    take(BLANKS);
    if (word !== undefined && text[at] === "=") {
      at++;
      take(BLANKS);
      const parameter = take(QUOTED)?.[1]?.replace(/\\(.)/gs, "$1") ?? take(BARE_VALUE)?.[0] ?? "";
      if (current?.parameters.has(word) === true) current.wellFormed = false;
      current?.parameters.set(word, parameter);
    } else if (word !== undefined && startsElement) {
      const token68: string | undefined = at > afterWord ? take(TOKEN68)?.[1] : undefined;
      current = { scheme: word, token68, parameters: new Map(), wellFormed: true };
      challenges.push(current);
    } else if (word !== undefined || at < text.length) {
      if (current !== undefined) current.wellFormed = false;
      take(REST_OF_ELEMENT);
    }
    startsElement = false;
  }
  return challenges;
}

interface Draft extends Challenge {
  readonly parameters: Map<string, string>;
  wellFormed: boolean;
}
