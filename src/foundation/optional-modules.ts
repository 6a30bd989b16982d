/** The mark of modules that only some configurations use: loaded before anything is built that needs them, and never where no setting asks for them. */

/**
 * Stands for a function of a module that was not loaded.
 *
 * @throws when it is called all the same: what loads modules and what uses them disagree. It shows when the gateway is
 * assembled, and nothing is passed over.
 */
export function notAskedFor(): never {
  throw new Error("a module is used that no setting asked for");
}
