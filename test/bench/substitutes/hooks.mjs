/** Module hooks: a module of the build whose path ends as told resolves to its stand-in, or is read with parts of its text changed. */

let substitutes = {};
let edits = {};

export function initialize(data) {
  ({ substitutes, edits } = data);
}

export async function resolve(specifier, context, nextResolve) {
  const resolved = await nextResolve(specifier, context);
  for (const [end, substitute] of Object.entries(substitutes))
    if (resolved.url.endsWith(`/dist/${end}`))
      return { ...resolved, url: new URL(substitute, import.meta.url).href };
  return resolved;
}

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  for (const [end, changes] of Object.entries(edits)) {
    if (!url.endsWith(`/dist/${end}`)) continue;
    let source = String(loaded.source);
    for (const [from, to] of changes) {
      // A study of a change that was not made would say that it changes nothing.
      if (source.split(from).length !== 2) throw new Error(`${end} does not hold this once: ${from}`);
      source = source.replace(from, () => to);
    }
    return { ...loaded, source };
  }
  return loaded;
}
