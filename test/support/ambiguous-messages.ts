/** Messages that two servers could frame in two ways, as bytes: none of them may reach an API. */

/** What the second, hidden request would be. */
export const HIDDEN = "GET /graph/hidden HTTP/1.1\r\nhost: a\r\n\r\n";

/** A POST with these header lines and this body. */
export const post = (lines: string, body: string) =>
  `POST /graph/me HTTP/1.1\r\nhost: a\r\n${lines}\r\n\r\n${body}`;
export const chunked = (body: string) => post("transfer-encoding: chunked", body);

const REFUSED: readonly (readonly [what: string, bytes: string])[] = [
  ["length and coding, length first", post("content-length: 6\r\ntransfer-encoding: chunked", "0\r\n\r\nG")],
  ["length and coding, coding first", post("transfer-encoding: chunked\r\ncontent-length: 4", "0\r\n\r\nG")],
  [
    "a length of zero and a coding",
    post("content-length: 0\r\ntransfer-encoding: chunked", `0\r\n\r\n${HIDDEN}`),
  ],
  ["an unknown coding", post("transfer-encoding: xchunked", `0\r\n\r\n${HIDDEN}`)],
  ["identity", post("transfer-encoding: identity", HIDDEN)],
  ["chunked before identity", post("transfer-encoding: chunked, identity", `0\r\n\r\n${HIDDEN}`)],
  ["chunked behind gzip", post("transfer-encoding: gzip, chunked", `0\r\n\r\n${HIDDEN}`)],
  ["chunked twice in one line", post("transfer-encoding: chunked, chunked", `0\r\n\r\n${HIDDEN}`)],
  [
    "chunked twice in two lines",
    post("transfer-encoding: chunked\r\ntransfer-encoding: chunked", `0\r\n\r\n${HIDDEN}`),
  ],
  [
    "chunked and identity in two lines",
    post("transfer-encoding: chunked\r\ntransfer-encoding: identity", `0\r\n\r\n${HIDDEN}`),
  ],
  ["a quoted coding", post('transfer-encoding: "chunked"', `0\r\n\r\n${HIDDEN}`)],
  ["a coding with a parameter", post("transfer-encoding: chunked;q=1", `0\r\n\r\n${HIDDEN}`)],
  ["a coding behind a vertical tab", post("transfer-encoding: \x0bchunked", `0\r\n\r\n${HIDDEN}`)],
  ["a coding with a NUL", post("transfer-encoding: chunked\0", `0\r\n\r\n${HIDDEN}`)],
  ["a blank before the colon of the coding", post("transfer-encoding : chunked", `0\r\n\r\n${HIDDEN}`)],
  ["a tab before the colon of the length", post("content-length\t: 5", `hello${HIDDEN}`)],
  ["a coding on a folded line", post("transfer-encoding:\r\n chunked", `0\r\n\r\n${HIDDEN}`)],
  ["a coding behind a bare line feed", post("x: y\ntransfer-encoding: chunked", `0\r\n\r\n${HIDDEN}`)],
  ["a coding behind a bare carriage return", post("x: y\rtransfer-encoding: chunked", `0\r\n\r\n${HIDDEN}`)],
  ["a coding in HTTP/1.0", `POST /graph/me HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ["the length twice, differing", post("content-length: 5\r\ncontent-length: 6", `hello${HIDDEN}`)],
  ["the length twice, alike", post("content-length: 5\r\ncontent-length: 5", `hello${HIDDEN}`)],
  ["a list of lengths", post("content-length: 5, 5", `hello${HIDDEN}`)],
  ["a length with a plus sign", post("content-length: +5", `hello${HIDDEN}`)],
  ["a negative length", post("content-length: -5", `hello${HIDDEN}`)],
  ["a hexadecimal length", post("content-length: 0x5", `hello${HIDDEN}`)],
  ["a length with a fraction", post("content-length: 5.0", `hello${HIDDEN}`)],
  ["a length with an exponent", post("content-length: 5e0", `hello${HIDDEN}`)],
  ["a length with a blank inside", post("content-length: 5 5", `hello${HIDDEN}`)],
  ["an empty length", post("content-length:", HIDDEN)],
  ["a length past 64 bits", post("content-length: 18446744073709551621", `hello${HIDDEN}`)],
  ["a length past what a number can count", post("content-length: 9007199254740993", "hello")],
  ["a chunk size with 0x", chunked(`0x5\r\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a negative chunk size", chunked(`-5\r\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk size with a plus sign", chunked(`+5\r\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk size behind a blank", chunked(` 5\r\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk size past 64 bits", chunked(`10000000000000005\r\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["no chunk size", chunked(`\r\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk size ended by a bare line feed", chunked(`5\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk size ended by a bare carriage return", chunked(`5\rhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk extension with a bare line feed", chunked(`5;a\nhello\r\n0\r\n\r\n${HIDDEN}`)],
  ["a chunk longer than its size", chunked(`5\r\nhello!\r\n0\r\n\r\n${HIDDEN}`)],
  ["a folded header line", post("x: y\r\n z: a\r\ncontent-length: 5", "hello")],
  ["a header line without a colon", post("nonsense\r\ncontent-length: 5", "hello")],
  ["a blank in a header name", post("content length: 5", "hello")],
  ["a NUL in a header value", post("x: a\0b\r\ncontent-length: 5", "hello")],
  ["a request line with a bare line feed", "GET /graph/me HTTP/1.1\nhost: a\n\n"],
  ["a request line with four words", "GET /graph/me /graph/hidden HTTP/1.1\r\nhost: a\r\n\r\n"],
  ["HTTP/0.9", "GET /graph/me\r\n\r\n"],
  ["an unknown version", "GET /graph/me HTTP/3.7\r\nhost: a\r\n\r\n"],
  ["a version in small letters", "GET /graph/me http/1.1\r\nhost: a\r\n\r\n"],
  ["HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["no Host", "GET /graph/me HTTP/1.1\r\n\r\n"],
  ["two Hosts", "GET /graph/me HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n"],
  ["CONNECT", "CONNECT graph.example:443 HTTP/1.1\r\nhost: a\r\n\r\n"],
  ["TRACE", "TRACE /graph/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"],
  ["absolute-form", "GET http://b/graph/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"],
  [
    "two content types",
    post("content-type: a/b\r\ncontent-type: c/d\r\ncontent-length: 5\r\nconnection: close", "hello"),
  ],
];

/** What the parser of the lowest Node still lets pass; the gateway warns of that when it starts. */
const REFUSED_SINCE_LLHTTP_9: typeof REFUSED = [
  ["a chunk ended by two other bytes", chunked(`5\r\nhelloXX0\r\n\r\n${HIDDEN}`)],
  ["a header line that begins with a colon", post(": x\r\ncontent-length: 5", "hello")],
];
/** Those that the parser of this Node has to be kept from. */
export const AMBIGUOUS =
  Number.parseInt(process.versions.llhttp ?? "", 10) < 9 ? REFUSED : [...REFUSED, ...REFUSED_SINCE_LLHTTP_9];

/** What waits for more bytes that never come. */
export const INCOMPLETE: readonly (readonly [what: string, bytes: string])[] = [
  ["a chunked body that stops", chunked("5\r\nhello\r\n")],
  ["a chunked body without its last line", chunked("5\r\nhello\r\n0\r\n")],
  ["a body shorter than its length", post("content-length: 50", "hello")],
  ["a header section that stops", "POST /graph/me HTTP/1.1\r\nhost: a\r\n"],
];
