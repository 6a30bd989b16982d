/** Module hooks: a module of the build whose path ends as told resolves to its stand-in. */

let substitutes = {};

export function initialize(data) {
  substitutes = data;
}

export async function resolve(specifier, context, nextResolve) {
  const resolved = await nextResolve(specifier, context);
  for (const [end, substitute] of Object.entries(substitutes))
    if (resolved.url.endsWith(`/dist/${end}`))
      return { ...resolved, url: new URL(substitute, import.meta.url).href };
  return resolved;
}
