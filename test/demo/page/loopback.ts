/**
 * The emulator's authority has a certificate of a private authority, at which a browser stops. This lets MSAL reach it over
 * plain HTTP on loopback instead. An application needs nothing of it.
 */

import type { INetworkModule } from "@azure/msal-browser";

export function loopbackDoor(authorityOrigin: string, door: string) {
  const through = (url: string) =>
    url.startsWith(`${authorityOrigin}/`) ? door + url.slice(authorityOrigin.length) : url;

  async function send(url: string, init: RequestInit) {
    const response = await fetch(through(url), init);
    return {
      headers: Object.fromEntries(response.headers),
      status: response.status,
      body: await response.json(),
    };
  }
  const networkClient: INetworkModule = {
    sendGetRequestAsync: (url, options) => send(url, { headers: options?.headers ?? {} }) as never,
    sendPostRequestAsync: (url, options) =>
      send(url, { method: "POST", headers: options?.headers ?? {}, body: options?.body ?? "" }) as never,
  };
  const navigate = async (url: string) => {
    location.assign(through(url));
    return await new Promise<boolean>(() => {});
  };
  return {
    through,
    networkClient,
    navigationClient: { navigateInternal: navigate, navigateExternal: navigate },
    /** Opens MSAL's windows through the door. */
    windowParent: new Proxy(window, {
      get(target, name) {
        if (name === "open") return (url: string, ...rest: string[]) => target.open(through(url), ...rest);
        const member = Reflect.get(target, name);
        return typeof member === "function" ? member.bind(target) : member;
      },
    }) as Window,
  };
}
