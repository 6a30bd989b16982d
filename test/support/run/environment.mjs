/**
 * Jest's environment for Node without a realm of its own. In a realm of its own, an error of Node is no `Error`, packages
 * that are loaded outside do not see fake timers, and each access to a global is intercepted. Here test files run in the
 * realm of their worker, and only their modules are their own; what a file changed of the globals is put back after it.
 */

import { createRequire } from "node:module";
import vm from "node:vm";
import { ModernFakeTimers } from "@jest/fake-timers";
import { ModuleMocker } from "jest-mock";
import { keepGlobals } from "./kept.mjs";

/** Names the function by which test files reach modules that Node loads, not jest. */
export const LOAD_OUTSIDE = "load outside of jest";

/** What jest takes for the context of a realm: scripts and modules that should run in it run in the realm of the worker. */
const HERE = Object.freeze({});

const withoutContext = ({ context, ...options } = {}) =>
  context === HERE ? options : { ...options, context };
const { SourceTextModule, SyntheticModule, compileFunction } = vm;
vm.SourceTextModule = class extends SourceTextModule {
  constructor(code, options) {
    super(code, withoutContext(options));
  }
};
vm.SyntheticModule = class extends SyntheticModule {
  constructor(names, evaluate, options) {
    super(names, evaluate, withoutContext(options));
  }
};
vm.compileFunction = (code, parameters, { parsingContext, ...options } = {}) =>
  compileFunction(code, parameters, parsingContext === HERE ? options : { ...options, parsingContext });

globalThis[Symbol.for(LOAD_OUTSIDE)] = createRequire(import.meta.url);

export default class Environment {
  constructor({ projectConfig: config }) {
    this.putBack = keepGlobals();
    this.global = globalThis;
    this.moduleMocker = new ModuleMocker(globalThis);
    // Jest asks for those of old as well when it tears a file down.
    this.fakeTimers = null;
    this.fakeTimersModern = new ModernFakeTimers({ config, global: globalThis });
  }

  async setup() {}

  async teardown() {
    this.fakeTimersModern.dispose();
    this.fakeTimersModern = null;
    this.putBack();
  }

  exportConditions() {
    return ["node", "node-addons"];
  }

  getVmContext() {
    return HERE;
  }
}
