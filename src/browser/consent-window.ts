/** The default way to consent: a window, which is waited for until it closes. */

const LOOK_MS = 300;

interface Opener {
  open?(url: string, target: string, features: string): { readonly closed: boolean } | null;
}

/** Resolves to false where no window opens, as where the browser wants a click for each. */
export async function openConsentWindow(uri: string): Promise<boolean> {
  const { open } = globalThis as Opener;
  const window = open?.call(globalThis, uri, "_blank", "popup,width=480,height=640");
  if (!window) return false;
  while (!window.closed) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  return true;
}
