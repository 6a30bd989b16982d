/** What the package's entry `obo-gateway/testing` exports: the emulator, a gateway in front of it, scenarios, a clock. */

export { type Emulator, type EmulatorOptions, startEmulator } from "../emulator/emulator.ts";
export type { MintOptions, Removable, User, UserRef } from "../emulator/handle.ts";
export { createTestClock, type TestClock } from "./clock.ts";
export {
  createTestGateway,
  createTestSettings,
  startTestGateway,
  type TestGateway,
  type TestGatewayOptions,
  type TestServer,
  type TestSettings,
} from "./gateway.ts";
export { type ScenarioName, scenarios } from "./scenarios.ts";
