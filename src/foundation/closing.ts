/** What has been opened, to be closed together: in order at the end, or when something after it could not be opened. */

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
