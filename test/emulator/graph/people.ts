/** Users, their managers and their photos. */

import { createHash } from "node:crypto";
import type { Directory } from "../entra/directory.ts";
import type { User } from "../handle.ts";
import { type GraphAnswer, type GraphCall, GraphProblem } from "./answer.ts";
import { squarePng } from "./png.ts";

export function userAnswer({ query, origin }: GraphCall, user: User): GraphAnswer {
  const [givenName, ...surname] = user.displayName.split(" ");
  const whole: Record<string, unknown> = {
    businessPhones: [],
    displayName: user.displayName,
    givenName,
    jobTitle: null,
    mail: user.userPrincipalName,
    mobilePhone: null,
    officeLocation: null,
    preferredLanguage: null,
    surname: surname.join(" "),
    userPrincipalName: user.userPrincipalName,
    id: user.objectId,
  };
  const selected = query.get("$select")?.split(",");
  const members = Object.entries(whole).filter(([name]) => selected === undefined || selected.includes(name));
  return {
    status: 200,
    body: {
      "@odata.context": `${origin}/v1.0/$metadata#users/$entity`,
      ...Object.fromEntries(members),
    },
  };
}

export function managerAnswer(call: GraphCall, directory: Directory): GraphAnswer {
  const manager = directory.findUser(call.user.managerObjectId, call.user.tenantId);
  if (manager === undefined) {
    throw new GraphProblem(
      404,
      "Request_ResourceNotFound",
      "Resource 'manager' does not exist or one of its queried reference-property objects are not present.",
    );
  }
  return userAnswer(call, manager);
}

export function otherUserAnswer(call: GraphCall, id: string, directory: Directory): GraphAnswer {
  for (const user of directory.users) {
    const named = user.objectId === id || user.userPrincipalName === id;
    if (named && user.tenantId === call.user.tenantId) return userAnswer(call, user);
  }
  throw new GraphProblem(
    404,
    "Request_ResourceNotFound",
    `Resource '${id}' does not exist or one of its queried reference-property objects are not present.`,
  );
}

/** The bytes themselves, with validators and ranges (RFC 9110 §13, §14). */
export function photoAnswer({ headers, user }: GraphCall): GraphAnswer {
  if (!user.hasPhoto) throw new GraphProblem(404, "ImageNotFound", "The photo wasn't found.");
  const image = squarePng(user.objectId);
  const etag = `"${createHash("sha256").update(image).digest("hex").slice(0, 16)}"`;
  const validators = { ETag: etag, "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes" };
  if (headers["if-none-match"] === etag) return { status: 304, headers: validators };

  const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
  if (range === null)
    return { status: 200, headers: { ...validators, "Content-Type": "image/png" }, body: image };
  const first = Number(range[1]);
  const last = Math.min(range[2] === "" ? image.length - 1 : Number(range[2]), image.length - 1);
  if (first > last) return { status: 416, headers: { "Content-Range": `bytes */${image.length}` } };
  return {
    status: 206,
    headers: {
      ...validators,
      "Content-Type": "image/png",
      "Content-Range": `bytes ${first}-${last}/${image.length}`,
    },
    body: image.subarray(first, last + 1),
  };
}
