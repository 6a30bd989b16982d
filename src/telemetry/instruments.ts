/** Counters and histograms of the hot path: prom-client's cost a hash of all labels at each use, these a look into a Map. */

type LabelValue = string | number;

export interface Counter {
  /** Adds one; label values in the order of the names. */
  inc(...labels: LabelValue[]): void;
  add(amount: number, ...labels: LabelValue[]): void;
}

export interface Histogram {
  observe(seconds: number, ...labels: LabelValue[]): void;
}

export interface Instruments {
  counter(name: string, help: string, labelNames: readonly string[]): Counter;
  /** Goes up and down by `add`. */
  gauge(name: string, help: string, labelNames: readonly string[]): Pick<Counter, "add">;
  histogram(name: string, help: string, labelNames: readonly string[]): Histogram;
  /** Prometheus' text format 0.0.4. */
  exposition(): string;
}

/** Upper bounds of a histogram's buckets, seconds. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createInstruments(): Instruments {
  const families: (() => string)[] = [];

  function single(type: "counter" | "gauge"): Instruments["counter"] {
    return (name, help, labelNames) => {
      const children = createChildren(() => ({ value: 0 }));
      // Without labels it is there from the start, so that an alert can tell 0 from nothing.
      if (labelNames.length === 0) children.of([]);
      families.push(() => {
        const lines = children.all().map(([child, values]) => {
          return `${name}${labelText(labelNames, values)} ${child.value}`;
        });
        return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join("\n");
      });
      return {
        inc(...labels) {
          children.of(labels).value += 1;
        },
        add(amount, ...labels) {
          children.of(labels).value += amount;
        },
      };
    };
  }

  return {
    counter: single("counter"),
    gauge: single("gauge"),

    histogram(name, help, labelNames) {
      // One more than there are bounds, for what is above the last.
      const children = createChildren(() => ({ counts: new Float64Array(BOUNDS.length + 1), sum: 0 }));
      families.push(() => {
        const lines = children
          .all()
          .flatMap(([child, values]) => histogramLines(name, labelNames, values, child));
        return [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`, ...lines].join("\n");
      });
      return {
        observe(seconds, ...labels) {
          const child = children.of(labels);
          let bucket = 0;
          while (bucket < BOUNDS.length && seconds > (BOUNDS[bucket] as number)) bucket++;
          child.counts[bucket] = (child.counts[bucket] as number) + 1;
          child.sum += seconds;
        },
      };
    },

    exposition: () => families.map((family) => `${family()}\n`).join("\n"),
  };
}

/** What is counted for each combination of label values, made when one is first seen. */
function createChildren<Child>(create: () => Child) {
  type Level = Map<LabelValue, Level | Child>;
  const root: Level = new Map();
  const known: [child: Child, values: readonly LabelValue[]][] = [];

  return {
    of(values: readonly LabelValue[]): Child {
      let level = root;
      const last = values.length - 1;
      for (let index = 0; index < last; index++) {
        const value = values[index] as LabelValue;
        let next = level.get(value) as Level | undefined;
        if (next === undefined) {
          next = new Map();
          level.set(value, next);
        }
        level = next;
      }
      const value = values[last] as LabelValue;
      let child = level.get(value) as Child | undefined;
      if (child === undefined) {
        child = create();
        level.set(value, child);
        known.push([child, [...values]]);
      }
      return child;
    },
    all: () => known,
  };
}

function histogramLines(
  name: string,
  labelNames: readonly string[],
  values: readonly LabelValue[],
  { counts, sum }: { readonly counts: Float64Array; readonly sum: number },
): string[] {
  const lines: string[] = [];
  let count = 0;
  for (const [bucket, own] of counts.entries()) {
    count += own;
    const le = BOUNDS[bucket] ?? "+Inf";
    lines.push(`${name}_bucket${labelText([...labelNames, "le"], [...values, le])} ${count}`);
  }
  const labels = labelText(labelNames, values);
  return [...lines, `${name}_sum${labels} ${sum}`, `${name}_count${labels} ${count}`];
}

function labelText(names: readonly string[], values: readonly LabelValue[]): string {
  const pairs = names.map((name, index) => `${name}="${escaped(String(values[index] ?? ""))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
