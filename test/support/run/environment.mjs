/**
 * Jest's environment for Node without a realm of its own. In a realm of its own, an error of Node is no `Error`, packages
 * that are loaded outside do not see fake timers, and each access to a global is intercepted. Here test files run in the
 * realm of their worker, and only their modules are their own; what a file changed of the globals is put back after it.
 */

import { createRequire } from "node:module";
import vm from "node:vm";
import { ModernFakeTimers } from "@jest/fake-timers";
import { ModuleMocker } from "jest-mock";

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

/** Restores the properties that `object` had, where they can be changed at all. */
function keep(object) {
  const before = Object.getOwnPropertyDescriptors(object);
  return () => {
    for (const name of Reflect.ownKeys(object)) if (!(name in before)) Reflect.deleteProperty(object, name);
    for (const name of Reflect.ownKeys(before)) {
      const now = Reflect.getOwnPropertyDescriptor(object, name);
      const { value, get } = before[name];
      if (now === undefined || now.value !== value || now.get !== get)
        Reflect.defineProperty(object, name, before[name]);
    }
  };
}

function keepEnvironment() {
  const before = { ...process.env };
  return () => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  };
}

globalThis[Symbol.for(LOAD_OUTSIDE)] = createRequire(import.meta.url);

export default class Environment {
  constructor({ projectConfig: config }) {
    const { exitCode } = process;
    this.putBack = [keep(globalThis), keep(process), keepEnvironment(), () => (process.exitCode = exitCode)];
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
    for (const putBack of this.putBack) putBack();
  }

  exportConditions() {
    return ["node", "node-addons"];
  }

  getVmContext() {
    return HERE;
  }
}
