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
import type { Uploads } from "./uploads.ts";

interface Resource {
  readonly method: string;
  readonly path: RegExp;
  /** Any one of them. */
  readonly scopes: readonly string[];
  answer(call: GraphCall, ...segments: string[]): GraphAnswer | Promise<GraphAnswer>;
}

/** @returns what answers one call; `$batch` is not among them, parts of a batch must not nest. */
export function createResources(parts: {
  readonly directory: Directory;
  readonly files: Files;
  readonly uploads: Uploads;
}): (call: GraphCall) => Promise<GraphAnswer> {
  const { directory, files, uploads } = parts;
  const resources: readonly Resource[] = [
    { method: "GET", path: /^\/me$/, scopes: ["User.Read"], answer: (call) => userAnswer(call, call.user) },
    // The real service wants User.Read.All here; one permission less keeps the demo's consent short.
    {
      method: "GET",
      path: /^\/me\/manager$/,
      scopes: ["User.Read"],
      answer: (call) => managerAnswer(call, directory),
    },
    { method: "GET", path: /^\/me\/photo\/\$value$/, scopes: ["User.Read"], answer: photoAnswer },
    {
      method: "GET",
      path: /^\/me\/messages$/,
      scopes: ["Mail.Read", "Mail.ReadWrite"],
      answer: messagesAnswer,
    },
    {
      method: "GET",
      path: /^\/me\/mailFolders\/inbox\/messages\/delta$/,
      scopes: ["Mail.Read", "Mail.ReadWrite"],
      answer: deltaAnswer,
    },
    { method: "GET", path: /^\/me\/emulator\/events$/, scopes: ["User.Read"], answer: eventsAnswer },
    {
      method: "POST",
      path: /^\/me\/drive\/root:\/([^/:]+):\/createUploadSession$/,
      scopes: ["Files.ReadWrite"],
      answer: (_call, name = "") => uploads.open(name),
    },
    {
      method: "GET",
      path: /^\/me\/messages\/([^/]+)$/,
      scopes: ["Mail.Read", "Mail.ReadWrite"],
      answer: messageAnswer,
    },
    {
      method: "PATCH",
      path: /^\/me\/messages\/([^/]+)$/,
      scopes: ["Mail.ReadWrite"],
      answer: updateMessageAnswer,
    },
    {
      method: "DELETE",
      path: /^\/me\/messages\/([^/]+)$/,
      scopes: ["Mail.ReadWrite"],
      answer: deleteMessageAnswer,
    },
    {
      method: "GET",
      path: /^\/me\/messages\/([^/]+)\/attachments\/([^/]+)\/\$value$/,
      scopes: ["Mail.Read", "Mail.ReadWrite"],
      answer: attachmentAnswer,
    },
    { method: "POST", path: /^\/me\/sendMail$/, scopes: ["Mail.Send"], answer: sendMailAnswer },
    {
      method: "PUT",
      path: /^\/me\/drive\/root:\/([^/:]+):\/content$/,
      scopes: ["Files.ReadWrite"],
      answer: (call, name = "") => files.upload(call, name),
    },
    {
      method: "GET",
      path: /^\/me\/drive\/items\/([^/]+)\/content$/,
      scopes: ["Files.ReadWrite"],
      answer: (call, id = "") => files.download(call, id),
    },
    {
      method: "GET",
      path: /^\/users\/([^/]+)$/,
      scopes: ["User.Read.All"],
      answer: (call, id = "") => otherUserAnswer(call, id, directory),
    },
    {
      method: "GET",
      path: /^\/groups$/,
      scopes: ["Group.Read.All"],
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
    if (!resource.scopes.some((scope) => call.scopes.includes(scope))) {
      throw new GraphProblem(
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
      );
    }
    const [, ...segments] = resource.path.exec(call.path) ?? [];
    return resource.answer(call, ...segments.map(decoded));
  };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new GraphProblem(400, "BadRequest", "The URL is malformed.");
  }
}
