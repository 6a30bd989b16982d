/** Modules that only some configurations use: loaded before anything is built that needs them, and never where no setting asks for them. */

/** When a module is needed, and what loads it. The import stands in the row, so that the rules for imports see it. */
export type OptionalModule<Asking> = readonly [
  isAskedFor: (asking: Asking) => boolean,
  load: () => Promise<unknown>,
];

/** The modules of a table that were asked for. */
export type Loaded<Table extends Readonly<Record<string, OptionalModule<never>>>> = {
  readonly [Name in keyof Table]: Awaited<ReturnType<Table[Name][1]>> | undefined;
};

/** Rejects when a module that is asked for cannot be loaded: a fault of the start, and never of a request. */
export async function loadAskedFor<Asking, Table extends Readonly<Record<string, OptionalModule<Asking>>>>(
  table: Table,
  asking: Asking,
): Promise<Loaded<Table>> {
  const loaded: [string, unknown][] = [];
  // One after the other: they share most of what they import.
  for (const [name, [isAskedFor, load]] of Object.entries(table))
    loaded.push([name, isAskedFor(asking) ? await load() : undefined]);
  return Object.fromEntries(loaded) as Loaded<Table>;
}

/**
 * A module that was asked for.
 *
 * @throws when it is used and its row did not ask for it: a defect of the table, which shows when the gateway is assembled.
 */
export function needed<Module>(module: Module | undefined): Module {
  if (module === undefined) throw new Error("a module is used that no setting asked for");
  return module;
}
