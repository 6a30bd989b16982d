/** What must hold of the image and of a container that runs it hardened. */

/** What probe.cjs finds inside a running container. */
export interface Inside {
  /** Lines of `/proc/1/status` by name. */
  readonly status: Readonly<Record<string, string>>;
  /** Error code of an attempt to create a file there, by directory; `null` where it could be created. */
  readonly writing: Readonly<Record<string, string | null>>;
  readonly heapLimitBytes: number;
  /** Paths of all files and links, but not of what is mounted. */
  readonly files: readonly string[];
  /** Sum of the files' sizes; one with several names counts once. */
  readonly unpackedBytes: number;
}

export interface ImageFacts {
  /** Of the image's configuration. */
  readonly user: string;
  readonly command: readonly string[];
  readonly inside: Inside;
}

/** Entries of package-lock.json by path, `node_modules/…`. */
export type LockedPackages = Readonly<
  Record<string, { readonly dev?: boolean; readonly optional?: boolean }>
>;

export interface Expected {
  readonly limitBytes: number;
  readonly containerBytes: number;
  readonly locked: LockedPackages;
}

/** All that the image may hold. Engines put files of their own into /etc, /run and /. */
const PLACES = [
  /^\/app\/(?:package\.json$|(?:dist|config|node_modules)\/)/,
  /^\/usr\/local\/bin\/node$/,
  /^(?:\/usr)?\/lib(?:64)?\/(?:[\w-]+\/)?(?:ld-|lib)[\w.+-]+$/,
  /^\/usr\/(?:local\/LICENSE|share\/doc\/[\w+.-]+\/copyright)$/,
  /^\/etc\/(?:passwd|group|nsswitch\.conf|hosts|hostname|resolv\.conf|mtab)$/,
  /^\/(?:\.dockerenv|run\/\.containerenv)$/,
];

/** Of no use to node, or nobody's business. */
const LEFTOVERS = /\.(?:map|d\.[mc]?ts|pem|key|pfx)$|\/\.(?:npmrc|env)$/;

/** One sentence for each promise that is not kept. */
export function imageFaults({ user, command, inside }: ImageFacts, expected: Expected): string[] {
  return [
    ...identityFaults(user, inside),
    ...(command.join(" ") === "node dist/main.js" ? [] : ["something stands between the runtime and node"]),
    ...writingFaults(inside),
    ...contentFaults(inside, expected.locked),
    ...(inside.unpackedBytes >= expected.limitBytes
      ? [`the image holds ${megabytes(inside.unpackedBytes)}, ${megabytes(expected.limitBytes)} are allowed`]
      : []),
    // Past the container's memory the kernel ends the process before V8 collects garbage.
    ...(inside.heapLimitBytes >= expected.containerBytes ? ["V8's heap may outgrow the container"] : []),
  ];
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function identityFaults(user: string, { status }: Inside): string[] {
  const faults: string[] = [];
  if (!/^[1-9]\d*:[1-9]\d*$/.test(user)) faults.push("the image's user is root or not a number");
  // Real, effective, saved and file system id.
  if (status.Uid?.split(/\s+/).join(":") !== "10001:10001:10001:10001")
    faults.push(`the gateway runs as uid ${status.Uid}`);
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
    if (!/^0+$/.test(status[set] ?? "")) faults.push(`the gateway has capabilities: ${set} ${status[set]}`);
  if (status.NoNewPrivs !== "1") faults.push("the gateway may gain privileges");
  if (status.Seccomp !== "2") faults.push("the gateway runs without a seccomp filter");
  return faults;
}

function writingFaults({ writing }: Inside): string[] {
  return Object.entries(writing).flatMap(([directory, code]) => {
    if (directory === "/tmp") return code === null ? [] : [`/tmp cannot be written: ${code}`];
    return code === "EROFS" ? [] : [`${directory} is not read-only: ${code ?? "a file could be written"}`];
  });
}

function contentFaults({ files }: Inside, locked: LockedPackages): string[] {
  const faults: string[] = [];
  for (const file of files) {
    if (!PLACES.some((place) => place.test(file))) faults.push(`${file} has no place in the image`);
    else if (LEFTOVERS.test(file)) faults.push(`${file} is of no use in the image`);
  }
  const packages = new Set(
    files.flatMap((file) => /^\/app\/(node_modules\/.+)\/package\.json$/.exec(file)?.[1] ?? []),
  );
  for (const [path, { dev = false, optional = false }] of Object.entries(locked)) {
    if (path === "") continue;
    if (dev && packages.has(path)) faults.push(`${path} is a development dependency`);
    if (!dev && !optional && !packages.has(path)) faults.push(`${path} is missing`);
  }
  return faults;
}

/** What a process in a container could read. */
export interface Held {
  /** Variables of the gateway's process. */
  readonly environment: Readonly<Record<string, string>>;
  /** Content of each mounted file, by its path. */
  readonly files: Readonly<Record<string, string>>;
  /** Where the file of the projected token is, behind its links. */
  readonly token: string;
}

const SECRETS: readonly (readonly [what: string, pattern: RegExp])[] = [
  ["a token", /eyJ[A-Za-z0-9_-]{8,}\./],
  ["a private key", /-----BEGIN [A-Z ]*PRIVATE KEY-----/],
  ["a password in a URL", /:\/\/[^/\s]*:[^/\s]*@/],
  ["a key", /(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])/],
];
const SECRET_NAMES = /SECRET|PASSWORD|ACCESS_?KEY|TOKEN_CACHE_KEYS$|CONNECTION_?STRING/i;

/** One sentence for each secret beside the projected token and the keys, which open nothing without a user's own token. */
export function secretFaults(
  held: Held,
  allowed: { readonly token: string; readonly keys: string },
): string[] {
  const faults: string[] = [];
  const look = (where: string, text: string, exempt: string | undefined) => {
    for (const [what, pattern] of SECRETS)
      if (what !== exempt && pattern.test(text)) faults.push(`${where} holds ${what}`);
  };
  for (const [name, value] of Object.entries(held.environment)) {
    if (SECRET_NAMES.test(name) && value !== "") faults.push(`the variable ${name} is set`);
    look(`the variable ${name}`, value, undefined);
  }
  for (const [path, text] of Object.entries(held.files)) {
    const isToken = path === held.token || path === allowed.token;
    look(path, text, isToken ? "a token" : path === allowed.keys ? "a key" : undefined);
  }
  return faults;
}
