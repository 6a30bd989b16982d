/** Closes together what was opened one after the other: at the end, or when a later part could not be opened. */

export interface Closeable {
  close(): unknown;
}

export type Keep = <Thing extends Closeable | undefined>(thing: Thing) => Thing;

export function createClosing(): { readonly keep: Keep; close(): Promise<void> } {
  const opened: Closeable[] = [];
  return {
    keep(thing) {
      if (thing !== undefined) opened.push(thing);
      return thing;
    },
    /** The last thing opened is the first to go. A second call finds nothing left to close. */
    async close() {
      for (const one of opened.splice(0).reverse()) await one.close();
    },
  };
}
