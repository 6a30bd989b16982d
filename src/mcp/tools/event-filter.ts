/** Applies a filter of JSON to the data of server-sent events (WHATWG HTML §9.2.6), and passes every other line as it came. */

import type { StreamFilter } from "./list-filter.ts";

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
const BLANK = 0x20;
const DATA = Buffer.from("data");
const MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const DATA_LINE = Buffer.from("data: ");
const NEW_LINE = Buffer.from("\n");

/** Where in the stream the next byte stands. */
type Place = "name" | "separator" | "data" | "other";

/**
 * Each event is one message, so the filter begins anew with each. An event's data may stand in several lines, which the
 * reader joins by line feeds; those are blanks in JSON, so lines of data become one, with a blank at each seam.
 *
 * @param openFilter Makes the filter for the data of one event.
 */
export function createEventFilter(openFilter: () => StreamFilter): StreamFilter {
  let place: Place = "name";
  /** Of the line's name, as far as it was read. */
  let name: number[] = [];
  /** Whether a line feed that follows belongs to the carriage return before it. */
  let isAfterReturn = false;
  let isLineEmpty = true;
  let filter: StreamFilter | undefined;
  /** Whether a line of data was written without its end, which depends on what comes next. */
  let isDataOpen = false;
  let isFirstLine = true;

  return {
    push(chunk) {
      const pieces: Buffer[] = [];
      const write = (bytes: Buffer) => {
        if (bytes.length > 0) pieces.push(bytes);
      };
      const closeData = () => {
        if (isDataOpen) write(NEW_LINE);
        isDataOpen = false;
      };
      const beginOther = () => {
        closeData();
        write(Buffer.from(name));
        place = "other";
      };
      const beginData = () => {
        place = "data";
        if (filter !== undefined && isDataOpen) {
          write(filter.push(Buffer.from(" ")));
          return;
        }
        filter ??= openFilter();
        write(DATA_LINE);
        isDataOpen = true;
      };
      const endLine = () => {
        if (place === "name" && isLineEmpty) {
          closeData();
          filter?.flush();
          filter = undefined;
          write(NEW_LINE);
        } else if (place === "name" && isData(name, isFirstLine)) beginData();
        else if (place === "name") {
          beginOther();
          write(NEW_LINE);
        } else if (place === "separator") beginData();
        else if (place === "other") write(NEW_LINE);
        place = "name";
        name = [];
        isLineEmpty = true;
        isFirstLine = false;
      };

      let from = 0;
      const passTo = (end: number) => {
        const bytes = chunk.subarray(from, end);
        if (place === "data" && filter !== undefined) write(filter.push(bytes));
        else if (place === "other") write(bytes);
        from = end;
      };
      for (let at = 0; at < chunk.length; at++) {
        const byte = chunk[at] as number;
        if (byte === LF && isAfterReturn) {
          isAfterReturn = false;
          from = at + 1;
          continue;
        }
        isAfterReturn = byte === CR;
        if (byte === CR || byte === LF) {
          passTo(at);
          from = at + 1;
          endLine();
          continue;
        }
        isLineEmpty = false;
        if (place === "separator") {
          beginData();
          from = byte === BLANK ? at + 1 : at;
        } else if (place === "name") {
          from = at + 1;
          if (byte === COLON && isData(name, isFirstLine)) place = "separator";
          else {
            name.push(byte);
            if (byte === COLON || name.length > DATA.length + MARK.length) beginOther();
          }
        }
      }
      passTo(chunk.length);
      return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    },
    flush() {
      // A stream that ends within an event ends it for no reader: what is held of it never becomes a message.
      const rest = isDataOpen ? NEW_LINE : Buffer.alloc(0);
      isDataOpen = false;
      filter = undefined;
      return rest;
    },
  };
}

/** A byte order mark may stand in front of the stream's first line. */
function isData(name: readonly number[], isFirstLine: boolean): boolean {
  const bytes = Buffer.from(name);
  return DATA.equals(isFirstLine && bytes.subarray(0, 3).equals(MARK) ? bytes.subarray(3) : bytes);
}
