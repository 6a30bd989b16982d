/** The session cookie of a browser: which users are signed in there, and how. */

import type { Request, Response } from "express";
import type { Sessions } from "../sessions.ts";
import type { Directory } from "./directory.ts";
import type { Seals } from "./sealed.ts";
import type { SignIn } from "./sign-in.ts";

const COOKIE = "ESTSAUTHPERSISTENT";
/** A cookie holds 4 KiB. */
const ACCOUNTS_KEPT = 5;

export interface BrowserSessions {
  /** Sign-ins that still count: not revoked, of accounts that exist. */
  read(request: Request): readonly SignIn[];
  /** Newest first; one for each user. */
  add(response: Response, known: readonly SignIn[], signIn: SignIn): void;
  /** Without an account all are signed out. */
  remove(response: Response, known: readonly SignIn[], userObjectId?: string): void;
}

export function createBrowserSessions(parts: {
  readonly seals: Seals;
  readonly sessions: Sessions;
  readonly directory: Directory;
}): BrowserSessions {
  const { seals, sessions, directory } = parts;

  const write = (response: Response, accounts: readonly SignIn[]) => {
    // `None`, because a page of another origin renews silently in a hidden frame.
    response.cookie(COOKIE, accounts.length === 0 ? "" : seals.seal("browser-session", { accounts }), {
      httpOnly: true,
      secure: true,
      sameSite: "none",
      path: "/",
      ...(accounts.length === 0 ? { maxAge: 0 } : {}),
    });
  };

  return {
    read(request) {
      const text = cookieOf(request.get("cookie"));
      const opened =
        text === undefined ? undefined : seals.open<{ accounts: SignIn[] }>("browser-session", text);
      return (opened?.accounts ?? []).filter(
        ({ userObjectId, tenantId, id }) =>
          directory.findUser(userObjectId, tenantId) !== undefined &&
          !sessions.isRevoked({ oid: userObjectId, uti: id }, "public"),
      );
    },
    add(response, known, signIn) {
      const others = known.filter(({ userObjectId }) => userObjectId !== signIn.userObjectId);
      write(response, [signIn, ...others].slice(0, ACCOUNTS_KEPT));
    },
    remove(response, known, userObjectId) {
      write(
        response,
        userObjectId === undefined ? [] : known.filter((each) => each.userObjectId !== userObjectId),
      );
    },
  };
}

function cookieOf(header: string | undefined): string | undefined {
  for (const part of (header ?? "").split(/;\s*/)) {
    if (part.startsWith(`${COOKIE}=`)) return decodeURIComponent(part.slice(COOKIE.length + 1));
  }
  return undefined;
}
