/** What the process writes while a test runs, whoever writes it. */

export interface CapturedOutput {
  start(): void;
  stop(): void;
  text(): string;
}

export function captureOutput(): CapturedOutput {
  const streams = [process.stdout, process.stderr];
  const originals = streams.map((stream) => stream.write);
  let written = "";
  return {
    start() {
      for (const stream of streams)
        stream.write = ((chunk: string | Uint8Array) => {
          written += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
          return true;
        }) as typeof stream.write;
    },
    stop() {
      streams.forEach((stream, index) => {
        const original = originals[index];
        if (original !== undefined) stream.write = original;
      });
    },
    text: () => written,
  };
}
