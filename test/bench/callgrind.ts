/** What callgrind has written of one thread, summed by the part of the process that ran: counts that other work on the machine does not move. */

/** Instructions by part. The collector's and the compiler's come and go by chance, so they are kept apart from the others. */
export interface Instructions {
  /** JavaScript, V8's builtins and runtime, Node, libuv and libc. */
  readonly work: number;
  readonly collector: number;
  readonly compiler: number;
}

const COLLECTOR =
  /v8::internal::(?:\(anonymous namespace\)::)?[\w:<>]*(?:Scaveng|Mark|Sweep|Evacuat|GarbageCollect|GCTracer|GlobalHandles|WeakRoots|RememberedSet|Ephemeron|StackFrameIterator)|v8::internal::(?:Heap|NewSpace|SemiSpace|PagedSpace|MemoryAllocator|MemoryChunk|IncrementalMarking|Safepoint\w*|IsolateSafepoint|Root\w*)::|cppgc::|heap::base::/;
const COMPILER =
  /v8::internal::(?:\(anonymous namespace\)::)?(?:compiler|interpreter|baseline|maglev|wasm|turboshaft)::|v8::internal::(?:\w*Compil\w*|Pars\w*|PreParser|Scanner|\w*Tiering\w*|Deoptimizer|\w*BytecodeArray\w*|OptimizedFunction\w*|Assembler\w*|MacroAssembler\w*|Zone\w*|AccountingAllocator)(?:::|<)/;

/** Reads a dump that was written with `--compress-strings=no`. */
export function instructionsOf(dump: string): Instructions {
  const sums = { work: 0, collector: 0, compiler: 0 };
  let part: keyof Instructions = "work";
  let isCall = false;
  for (const line of dump.split("\n")) {
    if (line.startsWith("fn=")) part = partOf(line.slice(3));
    // The line after a call has what the callee took, which stands with the callee as well.
    else if (line.startsWith("calls=")) isCall = true;
    else if (/^[\d+*-]/.test(line)) {
      if (!isCall) sums[part] += Number(line.slice(line.lastIndexOf(" ") + 1));
      isCall = false;
    }
  }
  return sums;
}

function partOf(name: string): keyof Instructions {
  if (COLLECTOR.test(name)) return "collector";
  return COMPILER.test(name) ? "compiler" : "work";
}
