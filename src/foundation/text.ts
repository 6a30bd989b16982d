/** Text of a file that people write with any editor: UTF-8 or UTF-16, with or without a byte order mark. */

/**
 * The text without its byte order mark (Unicode 16.0 §23.8). UTF-16 without a mark is known by the zero that is half of
 * each ASCII letter. Bytes that are no UTF-8 become replacement characters, as everywhere on the Web.
 */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder(encodingOf(bytes)).decode(bytes);
}

export function isUtf16(bytes: Uint8Array): boolean {
  return encodingOf(bytes) !== "utf-8";
}

function encodingOf([first, second]: Uint8Array): "utf-8" | "utf-16le" | "utf-16be" {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  if (first !== undefined && second !== undefined && first !== second) {
    if (second === 0 && first < 0x80) return "utf-16le";
    if (first === 0 && second < 0x80) return "utf-16be";
  }
  return "utf-8";
}
