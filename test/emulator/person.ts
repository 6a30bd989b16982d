/** A person at a browser without scripts: keeps cookies, follows redirects of the authority, fills in its pages. */

import type { RequestInit, Response } from "undici";

export interface PersonOptions {
  /** Name or address that she enters where she is asked who she is. */
  readonly user: string;
  /** What she presses where a second factor is asked for. Default `approve`. */
  readonly secondFactor?: "approve" | "deny" | "cancel";
  /** What she presses where consent is asked for. Default `accept`. */
  readonly consent?: "accept" | "cancel";
  /** An administrator may consent for everybody. */
  readonly forOrganization?: boolean;
}

export interface Page {
  readonly status: number;
  readonly title: string;
  /** Text of the alert, where one is shown. */
  readonly fault: string | undefined;
  readonly html: string;
  readonly buttons: readonly { readonly name: string; readonly value: string }[];
}

/** Where a sign-in ended: at the client's address, or on a page that leads no further. */
export interface Journey {
  readonly pages: readonly Page[];
  /** Of the redirect to the client: its address with all that was appended, or the action of the form that posts itself. */
  readonly location: URL | undefined;
  /** The answer's parameters, from query, fragment or form. */
  readonly answer: Readonly<Record<string, string>>;
}

export interface Person {
  /** Opens an address of the authority, and goes through every page until the client is answered. */
  signIn(url: string | URL, options: PersonOptions): Promise<Journey>;
  /** Opens an address and looks at it, pressing nothing. */
  open(url: string | URL, init?: RequestInit): Promise<Journey>;
  /** Presses one button of a page. */
  press(page: Page, fields: Readonly<Record<string, string>>): Promise<Journey>;
  /** Closes the browser: cookies are gone. */
  forget(): void;
  readonly cookies: ReadonlyMap<string, string>;
}

/** More pages than any sign-in has; a person who is shown one after another gives up. */
const PATIENCE = 8;

export function createPerson(
  authorityHost: string,
  fetch: (url: string, init?: RequestInit) => Promise<Response>,
): Person {
  const cookies = new Map<string, string>();
  const { origin } = new URL(authorityHost);

  const request = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, {
      ...init,
      redirect: "manual",
      headers: { ...(init.headers as Record<string, string>), ...(cookie === "" ? {} : { cookie }) },
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (/max-age=0/i.test(line)) cookies.delete(name);
      else cookies.set(name, value);
    }
    return response;
  };

  const follow = async (url: string, init?: RequestInit): Promise<Journey> => {
    const response = await request(url, init);
    const location = response.headers.get("location");
    if (location !== null) {
      await response.body?.cancel();
      const target = new URL(location, url);
      if (target.origin === origin) return follow(target.href);
      return {
        pages: [],
        location: target,
        answer: { ...fieldsOf(target.searchParams), ...fragmentOf(target) },
      };
    }
    const page = readPage(response.status, await response.text());
    const posted = postedForm(page.html, origin);
    return posted === undefined
      ? { pages: [page], location: undefined, answer: {} }
      : { pages: [], ...posted };
  };

  const press = (page: Page, fields: Readonly<Record<string, string>>): Promise<Journey> => {
    const { action, step } = formOf(page.html);
    return follow(new URL(action, origin).href, {
      method: "POST",
      body: new URLSearchParams({ step, ...fields }).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
  };

  return {
    cookies,
    forget: () => cookies.clear(),
    open: (url, init) => follow(String(url), init),
    press,
    async signIn(url, options) {
      const seen: Page[] = [];
      let journey = await follow(String(url));
      while (journey.location === undefined) {
        const [page] = journey.pages;
        if (page === undefined) break;
        seen.push(page);
        const fields = fieldsFor(page, options);
        if (fields === undefined || seen.length > PATIENCE) break;
        journey = await press(page, fields);
      }
      return { ...journey, pages: seen };
    },
  };
}

/** What to press on this page; undefined on one that leads no further, or that repeats what she already did. */
function fieldsFor(page: Page, options: PersonOptions): Record<string, string> | undefined {
  const offers = (name: string, value?: string) =>
    page.buttons.some((button) => button.name === name && (value === undefined || button.value === value));
  if (page.fault !== undefined) return undefined;
  if (offers("mfa")) return { mfa: options.secondFactor ?? "approve" };
  if (offers("consent", "accept")) {
    return {
      consent: options.consent ?? "accept",
      ...(options.forOrganization === true ? { organization: "true" } : {}),
    };
  }
  if (page.html.includes('name="user"')) return { user: options.user };
  return undefined;
}

function readPage(status: number, html: string): Page {
  const buttons = [...html.matchAll(/<button[^>]*\sname="([^"]*)"\s+value="([^"]*)"/g)];
  return {
    status,
    html,
    title: decoded(/<h1>([^<]*)<\/h1>/.exec(html)?.[1] ?? ""),
    fault: optional(/role="alert">([^<]*)</.exec(html)?.[1]),
    buttons: buttons.map(([, name = "", value = ""]) => ({ name: decoded(name), value: decoded(value) })),
  };
}

function formOf(html: string): { readonly action: string; readonly step: string } {
  return {
    action: decoded(/<form method="post" action="([^"]*)"/.exec(html)?.[1] ?? ""),
    step: decoded(/name="step" value="([^"]*)"/.exec(html)?.[1] ?? ""),
  };
}

/** OAuth 2.0 Form Post Response Mode: a form that leads away from the authority. */
function postedForm(html: string, origin: string): Pick<Journey, "location" | "answer"> | undefined {
  const { action } = formOf(html);
  if (!/^https?:/.test(action) || new URL(action).origin === origin) return undefined;
  const inputs = [...html.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)];
  return {
    location: new URL(action),
    answer: Object.fromEntries(inputs.map(([, name = "", value = ""]) => [decoded(name), decoded(value)])),
  };
}

function fieldsOf(parameters: URLSearchParams): Record<string, string> {
  return Object.fromEntries(parameters);
}

function fragmentOf({ hash }: URL): Record<string, string> {
  return fieldsOf(new URLSearchParams(hash.slice(1)));
}

function optional(text: string | undefined): string | undefined {
  return text === undefined ? undefined : decoded(text);
}

function decoded(text: string): string {
  return text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&amp;", "&");
}
