/** The Dockerfile's rules: each of them finds a copy that was broken for it. */

import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { dockerfileFaults } from "./dockerfile.ts";

const dockerfile = readFileSync("docker/Dockerfile", "utf8");
const ignore = readFileSync(".dockerignore", "utf8");

const BROKEN: [fault: string, original: string | RegExp, replacement: string][] = [
  ["the last stage, which is built by default, is not production", "AS production", "AS release"],
  ["NODE_IMAGE has no default of Node 24 before the first stage", "node:24-bookworm-slim", "node:22"],
  ["NODE_IMAGE has no default of Node 24 before the first stage", /^ARG NODE_IMAGE.*$/m, ""],
  ["the base node:24 cannot be exchanged", "FROM ${NODE_IMAGE} AS runtime", "FROM node:24 AS runtime"],
  [
    "the image keeps the shell and the packages of its base",
    "FROM scratch AS production",
    "FROM ${NODE_IMAGE} AS production",
  ],
  ["an install may differ from the lockfile", "npm ci --cache", "npm install --cache"],
  ["development dependencies reach the image", " --omit=dev", ""],
  ["development dependencies reach the image", "--from=dependencies", "--from=build"],
  ["install scripts of dependencies run", "--omit=dev --ignore-scripts", "--omit=dev"],
  ["the image's dependencies come from more than one place, or from none", /^COPY .*node_modules$/m, ""],
  ["docker is copied but ignored", "COPY src ./src", "COPY src docker ./"],
  ["the user is root or not a number", /USER 10001:10001\n(?=EXPOSE 8080)/, ""],
  ["the user is root or not a number", /USER 10001:10001\n(?=EXPOSE 8080)/, "USER node\n"],
  ["the user is root or not a number", /USER 10001:10001\n(?=EXPOSE 8080)/, "USER 0:0\n"],
  ["files come past the build", "COPY --from=build /app/config ./config", "COPY config ./config"],
  ["commands run in the image itself", "EXPOSE 8080 8081", "RUN npm prune\nEXPOSE 8080 8081"],
  ["something stands between the runtime's signals and node", /^CMD .*$/m, "CMD node dist/main.js"],
  ["something stands between the runtime's signals and node", /^CMD .*$/m, 'CMD ["npm", "start"]'],
  ["the ports are not the documented ones", "EXPOSE 8080 8081", "EXPOSE 3000"],
  ["NODE_ENV=production is not set", "NODE_ENV=production", "NODE_ENV=development"],
  ["HOST=:: is not set", "HOST=::", "HOST=127.0.0.1"],
  [
    "NODE_OPTIONS=--max-old-space-size-percentage=75 is not set",
    "--max-old-space-size-percentage=75",
    "--max-old-space-size=4096",
  ],
];

test.each(BROKEN)("a broken copy is found out: %s", (fault, original, replacement) => {
  const broken = dockerfile.replace(original, () => replacement);
  expect(broken).not.toBe(dockerfile);
  expect(dockerfileFaults(broken, ignore)).toEqual([fault]);
});

test("a build context that is not closed is found out", () => {
  expect(dockerfileFaults(dockerfile, ignore.replace(/^\*$/m, "node_modules"))).toEqual([
    "the build sees files that were not named",
  ]);
});
