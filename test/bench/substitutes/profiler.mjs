/** Loaded before a server: samples its main thread between two messages of its parent, so that its start is left out. */

import { Session } from "node:inspector/promises";

const SAMPLE_EVERY_US = 250;
const SAMPLE_EVERY_BYTES = 4_096;

const session = new Session();
session.connect();

const ACTIONS = {
  async "start cpu"() {
    await session.post("Profiler.enable");
    await session.post("Profiler.setSamplingInterval", { interval: SAMPLE_EVERY_US });
    await session.post("Profiler.start");
  },
  async "stop cpu"() {
    const { profile } = await session.post("Profiler.stop");
    await session.post("Profiler.disable");
    return profile;
  },
  async "start heap"() {
    await session.post("HeapProfiler.startSampling", {
      samplingInterval: SAMPLE_EVERY_BYTES,
      // What a request allocates is collected long before the profile is taken.
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
  },
  async "stop heap"() {
    return (await session.post("HeapProfiler.stopSampling")).profile;
  },
};

process.on("message", async (message) => {
  const action = ACTIONS[message];
  if (action !== undefined) process.send((await action()) ?? {});
});
// The end of the server must not wait for its parent to let go.
process.channel.unref();
