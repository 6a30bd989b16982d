/** Runs inside the container, by `node -e`, because the image has no shell. Prints what `Inside` in rules.ts names. */

const { lstatSync, readdirSync, readFileSync, unlinkSync, writeFileSync } = require("node:fs");
const { getHeapStatistics } = require("node:v8");

const read = (file) => readFileSync(file, "utf8").trim().split("\n");

// The gateway's own process, not this one.
const status = Object.fromEntries(
  read("/proc/1/status").map((line) => {
    const [name, value] = line.split(":");
    return [name, value.trim()];
  }),
);

const writing = {};
for (const directory of ["/", "/app", "/app/dist", "/etc", "/usr/local/bin", "/tmp"]) {
  const file = `${directory}/probe`;
  try {
    writeFileSync(file, "");
    unlinkSync(file);
    writing[directory] = null;
  } catch (error) {
    writing[directory] = error.code;
  }
}

// What is mounted is the runtime's or the test's, not the image's.
const mounted = new Set(read("/proc/self/mountinfo").map((line) => line.split(" ")[4]));
const files = [];
const counted = new Set();
let unpackedBytes = 0;
const walk = (directory) => {
  for (const name of readdirSync(`${directory}/`)) {
    const path = `${directory}/${name}`;
    if (mounted.has(path)) continue;
    const stat = lstatSync(path);
    if (stat.isDirectory()) {
      walk(path);
    } else {
      files.push(path);
      if (!counted.has(stat.ino)) unpackedBytes += stat.size;
      counted.add(stat.ino);
    }
  }
};
walk("");

const { heap_size_limit: heapLimitBytes } = getHeapStatistics();
process.stdout.write(JSON.stringify({ status, writing, heapLimitBytes, files, unpackedBytes }));
