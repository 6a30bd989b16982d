/** Which redirect URI a request may name, and what kind of client it makes of the application (Entra, reply-url). */

import type { RedirectType } from "../handle.ts";
import type { Registration } from "./directory.ts";
import { EntraRefusal } from "./refusal.ts";

export interface Redirect {
  readonly uri: string;
  readonly type: RedirectType;
}

/** @throws {EntraRefusal} 50011 for a URI that is not registered, 500113 where nothing is registered at all. */
export function chosenRedirect(application: Registration, requested: string | undefined): Redirect {
  const [first] = application.redirectUris;
  if (first === undefined) throw new EntraRefusal(500113);
  if (requested === undefined || requested === "") return first;
  const registered = application.redirectUris.find(({ uri }) => isSameRedirect(uri, requested));
  if (registered === undefined) throw new EntraRefusal(50011, requested);
  return { uri: requested, type: registered.type };
}

/** Where to go after sign-out: only to an address that some application registered. */
export function isRegisteredAnywhere(applications: readonly Registration[], requested: string): boolean {
  return applications.some(({ redirectUris }) =>
    redirectUris.some(({ uri }) => isSameRedirect(uri, requested)),
  );
}

/**
 * Letter for letter, with one exception: the port of `http://localhost` does not count, because native clients take
 * any free one (RFC 8252 §7.3). `127.0.0.1` is compared with its port.
 */
function isSameRedirect(registered: string, requested: string): boolean {
  return comparable(registered) === comparable(requested);
}

function comparable(uri: string): string {
  const loopback = /^http:\/\/localhost(?::\d{1,5})?(?=[/?]|$)/.exec(uri);
  const portless = loopback === null ? uri : `http://localhost${uri.slice(loopback[0].length)}`;
  // An address without a path means its root.
  return /^https?:\/\/[^/?#]+$/.test(portless) ? `${portless}/` : portless;
}
