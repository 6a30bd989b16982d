/** Notices that the content of a file has changed, however it was replaced. */

import { type Stats, unwatchFile, watchFile as watchStats } from "node:fs";

export interface FileWatchOptions {
  /** How often the file is looked at, ms. */
  readonly intervalMs: number;
  /** Called when a file that has changed was the same at two looks: a writer in the middle of its work is waited for. */
  readonly onChange: () => void;
}

export interface FileWatch {
  close(): void;
}

/**
 * Looks at what the path leads to, through symbolic links: a volume of Kubernetes exchanges the link `..data` above the
 * file, which watches of the file itself do not report, and network file systems report nothing at all. A file that is
 * gone is no change; its return is one.
 */
export function watchFile(path: string, { intervalMs, onChange }: FileWatchOptions): FileWatch {
  let settling: NodeJS.Timeout | undefined;
  const changed = ({ mtimeMs }: Stats) => {
    clearTimeout(settling);
    // Of a file that is not there every number is 0.
    if (mtimeMs === 0) return;
    // Longer than until the next look, which puts this off again while the file still changes.
    settling = setTimeout(onChange, intervalMs * 1.5).unref();
  };
  watchStats(path, { interval: intervalMs, persistent: false }, changed);
  return {
    close() {
      clearTimeout(settling);
      unwatchFile(path, changed);
    },
  };
}
