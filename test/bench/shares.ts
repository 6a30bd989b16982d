/** A profile's samples, summed by the place in the code that they belong to. */

import type { HeapProfiler, Profiler } from "node:inspector";

/** What one request takes of something, by the place in the code that takes it. */
export type Shares = ReadonlyMap<string, number>;

type CallFrame = Profiler.ProfileNode["callFrame"];

/** Self time by place, of the samples in which the thread was not idle. */
export function selfTimes(
  { nodes, samples = [], timeDeltas = [] }: Profiler.Profile,
  placeOf: (frame: CallFrame) => string,
): Map<string, number> {
  const places = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const times = new Map<string, number>();
  samples.forEach((id, index) => {
    const frame = places.get(id);
    if (frame === undefined || isLeftOut(frame)) return;
    add(times, placeOf(frame), timeDeltas[index] ?? 0);
  });
  return times;
}

/** Nothing runs, or the profile itself is handed over. */
function isLeftOut({ functionName, url }: CallFrame): boolean {
  return functionName === "(idle)" || (functionName === "dispatch" && url === "");
}

/** The same proportions, adding up to the total. */
export function scaled(shares: Shares, total: number): Map<string, number> {
  const sum = [...shares.values()].reduce((all, one) => all + one, 0);
  return new Map([...shares].map(([place, value]) => [place, (value / sum) * total]));
}

export function allocations({ head }: HeapProfiler.SamplingHeapProfile, requests: number): Shares {
  const bytes = new Map<string, number>();
  const visit = (node: HeapProfiler.SamplingHeapProfileNode) => {
    add(bytes, partOf(node.callFrame), node.selfSize / requests);
    node.children.forEach(visit);
  };
  visit(head);
  return bytes;
}

/** Room, dependency, or part of Node and V8 that a function belongs to. */
export function partOf({ functionName, url }: CallFrame): string {
  const dependency = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
  if (dependency !== undefined) return `dependency: ${dependency}`;
  const room = /\/dist\/([^/]+)\//.exec(url)?.[1];
  if (room !== undefined) return `room: ${room}`;
  if (url.includes("/dist/")) return "room: (root)";
  if (url.includes("/test/bench/")) return "pass-through itself";
  if (url.startsWith("node:")) return `node: ${groupOf(url)}`;
  if (functionName === "(garbage collector)") return "V8: garbage collector";
  if (url.startsWith("wasm")) return "dependency: undici";
  return SYSTEM_CALLS.has(functionName) ? `system: ${functionName}` : "V8 and native code";
}

const SYSTEM_CALLS: ReadonlySet<string> = new Set([
  "writev",
  "writeBuffer",
  "writeLatin1String",
  "writeUtf8String",
]);

function groupOf(url: string): string {
  const [, name = url] = /^node:(?:internal\/)?([\w.-]+)/.exec(url) ?? [];
  if (name.startsWith("_http") || name === "http") return "http";
  if (name === "_stream" || name.startsWith("stream") || name === "streams") return "streams";
  return name;
}

export function functionOf({ functionName, url, lineNumber }: CallFrame): string {
  const file = url.replace(/^.*\/(?=(?:dist|node_modules|bench)\/)/, "");
  return `${functionName || "(anonymous)"} ${file === "" ? "" : `${file}:${lineNumber + 1}`}`.trim();
}

function add(sums: Map<string, number>, place: string, value: number): void {
  sums.set(place, (sums.get(place) ?? 0) + value);
}
