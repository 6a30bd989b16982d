/** What test files of one worker share of Node: each file finds it as the one before it did. */

/** Listeners and their number: an emitter whose count is put back forgets those that packages added meanwhile. */
const LISTENERS = new Set(["_events", "_eventsCount", "_maxListeners"]);

/** Restores the properties that `object` had, where they can be changed at all. */
function keep(object) {
  const before = Object.getOwnPropertyDescriptors(object);
  return () => {
    for (const name of Reflect.ownKeys(object)) if (!(name in before)) Reflect.deleteProperty(object, name);
    for (const name of Reflect.ownKeys(before)) {
      if (LISTENERS.has(name)) continue;
      const now = Reflect.getOwnPropertyDescriptor(object, name);
      const { value, get } = before[name];
      if (now === undefined || now.value !== value || now.get !== get)
        Reflect.defineProperty(object, name, before[name]);
    }
  };
}

/** Variables are strings however they are set, so that their descriptors are no way to restore them. */
function keepVariables() {
  const before = { ...process.env };
  return () => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  };
}

/** Call it before a test file, and what it answers after it. */
export function keepGlobals() {
  const { exitCode } = process;
  const putBack = [keep(globalThis), keep(process), keepVariables()];
  return () => {
    for (const restore of putBack) restore();
    process.exitCode = exitCode;
  };
}
