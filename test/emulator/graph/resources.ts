/** The part of Graph that the emulator has: paths, the permissions they need, and who answers. */

import type { Directory } from "../entra/directory.ts";
import { type GraphAnswer, type GraphCall, GraphProblem } from "./answer.ts";
import { eventsAnswer } from "./events.ts";
import type { Files } from "./files.ts";
import {
  attachmentAnswer,
  deleteMessageAnswer,
  deltaAnswer,
  messageAnswer,
  messagesAnswer,
  sendMailAnswer,
  updateMessageAnswer,
} from "./mail.ts";
import { managerAnswer, otherUserAnswer, photoAnswer, userAnswer } from "./people.ts";
import { acceptedPermissions } from "./permissions.ts";
import type { Uploads } from "./uploads.ts";

interface Resource {
  readonly method: string;
  readonly path: RegExp;
  /** Any one of them, for a call that the permission table does not know. */
  readonly scopes?: readonly string[];
  answer(call: GraphCall, ...segments: string[]): GraphAnswer | Promise<GraphAnswer>;
}

/** @returns what answers one call; `$batch` is not among them, parts of a batch must not nest. */
export function createResources(parts: {
  readonly directory: Directory;
  readonly files: Files;
  readonly uploads: Uploads;
  /** Whether permissions are checked at all. */
  readonly isEnforced: () => boolean;
}): (call: GraphCall) => Promise<GraphAnswer> {
  const { directory, files, uploads, isEnforced } = parts;
  const resources: readonly Resource[] = [
    { method: "GET", path: /^\/me$/, answer: (call) => userAnswer(call, call.user) },
    { method: "GET", path: /^\/me\/manager$/, answer: (call) => managerAnswer(call, directory) },
    { method: "GET", path: /^\/me\/photo\/\$value$/, scopes: ["User.Read"], answer: photoAnswer },
    {
      method: "GET",
      path: /^\/me\/messages$/,
      answer: messagesAnswer,
    },
    {
      method: "GET",
      path: /^\/me\/mailFolders\/inbox\/messages\/delta$/,
      answer: deltaAnswer,
    },
    { method: "GET", path: /^\/me\/emulator\/events$/, scopes: ["User.Read"], answer: eventsAnswer },
    {
      method: "POST",
      path: /^\/me\/drive\/root:\/([^/:]+):\/createUploadSession$/,
      answer: (_call, name = "") => uploads.open(name),
    },
    {
      method: "GET",
      path: /^\/me\/messages\/([^/]+)$/,
      answer: messageAnswer,
    },
    {
      method: "PATCH",
      path: /^\/me\/messages\/([^/]+)$/,
      answer: updateMessageAnswer,
    },
    {
      method: "DELETE",
      path: /^\/me\/messages\/([^/]+)$/,
      answer: deleteMessageAnswer,
    },
    {
      method: "GET",
      path: /^\/me\/messages\/([^/]+)\/attachments\/([^/]+)\/\$value$/,
      scopes: ["Mail.Read", "Mail.ReadWrite"],
      answer: attachmentAnswer,
    },
    { method: "POST", path: /^\/me\/sendMail$/, answer: sendMailAnswer },
    {
      method: "PUT",
      path: /^\/me\/drive\/root:\/([^/:]+):\/content$/,
      answer: (call, name = "") => files.upload(call, name),
    },
    {
      method: "GET",
      path: /^\/me\/drive\/items\/([^/]+)\/content$/,
      answer: (call, id = "") => files.download(call, id),
    },
    {
      method: "GET",
      path: /^\/users\/([^/]+)$/,
      answer: (call, id = "") => otherUserAnswer(call, id, directory),
    },
    {
      method: "GET",
      path: /^\/groups$/,
      answer: () => ({ status: 200, body: { value: [] } }),
    },
  ];

  return async (call) => {
    const candidates = resources.filter(({ path }) => path.test(call.path));
    if (candidates.length === 0) {
      throw new GraphProblem(
        404,
        "Request_ResourceNotFound",
        `Resource not found for the path '${call.path}'.`,
      );
    }
    const method = call.method === "HEAD" ? "GET" : call.method;
    const resource = candidates.find((candidate) => candidate.method === method);
    if (resource === undefined)
      throw new GraphProblem(405, "Request_BadRequest", "The method is not allowed.");
    const accepted = acceptedPermissions(method, call.path) ?? resource.scopes ?? [];
    if (isEnforced() && !accepted.some((permission) => call.scopes.includes(permission))) {
      throw denied(call.path);
    }
    const [, ...segments] = resource.path.exec(call.path) ?? [];
    return resource.answer(call, ...segments.map(decoded));
  };
}

/** Exchange words a refusal differently from the directory. */
function denied(path: string): GraphProblem {
  return /^\/me\/(messages|mailfolders|sendmail|events)/i.test(path)
    ? new GraphProblem(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    : new GraphProblem(
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
      );
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new GraphProblem(400, "BadRequest", "The URL is malformed.");
  }
}
