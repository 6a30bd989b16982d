/** As much of a browser window as MSAL needs on the redirect path: storage, an address, and requests with an origin. */

import { webcrypto } from "node:crypto";
import type { Client } from "./support.ts";

export interface FakePage {
  /** Where the page's script navigates to, once it does. */
  leftFor(): Promise<string>;
  readonly navigationClient: {
    navigateInternal(url: string): Promise<boolean>;
    navigateExternal(url: string): Promise<boolean>;
  };
  /** The address bar, after a redirect back. */
  arriveAt(url: URL): void;
  remove(): void;
}

const NAMES = ["window", "document", "fetch", "sessionStorage", "localStorage", "BroadcastChannel"];

/** Puts `window`, `document` and `fetch` into the global scope until `remove()`. */
export function createFakePage(client: Client, url: string): FakePage {
  let address = new URL(url);
  const kept = NAMES.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
  const sessionStorage = createStorage();
  const localStorage = createStorage();
  const page: Record<string, unknown> = {
    sessionStorage,
    localStorage,
    crypto: webcrypto,
    performance,
    navigator: { onLine: true, userAgent: "fake page" },
    history: { replaceState: (_state: unknown, _title: string, to: string) => setAddress(to) },
    addEventListener: () => {},
    removeEventListener: () => {},
    setTimeout: (run: () => void, ms: number) => setTimeout(run, ms).unref(),
    clearTimeout,
    setInterval: (run: () => void, ms: number) => setInterval(run, ms).unref(),
    clearInterval,
    isSecureContext: true,
  };
  page.parent = page;
  const setAddress = (to: string) => {
    address = new URL(to, address);
  };
  Object.defineProperty(page, "location", {
    get: () => ({
      href: address.href,
      origin: address.origin,
      pathname: address.pathname,
      search: address.search,
      get hash() {
        return address.hash;
      },
      set hash(text: string) {
        address.hash = text;
      },
      assign: setAddress,
    }),
  });
  const define = (name: string, value: unknown) =>
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  define("window", page);
  define("document", {
    title: "page",
    cookie: "",
    addEventListener: () => {},
    removeEventListener: () => {},
  });
  define("sessionStorage", sessionStorage);
  define("localStorage", localStorage);
  // One tab alone; Node's own channels would keep the process alive.
  define("BroadcastChannel", undefined);
  // A browser adds the origin itself, and nothing can take it away.
  define("fetch", async (to: string, init: { headers?: Record<string, string> } = {}) =>
    client.fetch(String(to), {
      ...init,
      headers: { ...Object.fromEntries(new Headers(init.headers)), origin: address.origin },
    }),
  );

  let arrive = (_to: string) => {};
  let left = new Promise<string>((resolve) => {
    arrive = resolve;
  });
  const navigateExternal = async (to: string) => {
    arrive(to);
    return true;
  };
  return {
    async leftFor() {
      const to = await left;
      left = new Promise((resolve) => {
        arrive = resolve;
      });
      return to;
    },
    navigationClient: {
      async navigateInternal(to) {
        setAddress(to);
        return true;
      },
      navigateExternal,
    },
    arriveAt(to) {
      address = to;
    },
    remove() {
      for (const [name, descriptor] of kept) {
        if (descriptor === undefined) Reflect.deleteProperty(globalThis, name);
        else Object.defineProperty(globalThis, name, descriptor);
      }
    },
  };
}

/** Web Storage: `Object.keys` lists what is stored, and nothing else. */
function createStorage(): object {
  const methods = {
    getItem(this: Record<string, string>, key: string) {
      return Object.hasOwn(this, key) ? (this[key] ?? null) : null;
    },
    setItem(this: Record<string, string>, key: string, value: string) {
      this[key] = String(value);
    },
    removeItem(this: Record<string, string>, key: string) {
      delete this[key];
    },
  };
  return Object.create(methods);
}
