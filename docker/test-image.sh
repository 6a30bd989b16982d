#!/usr/bin/env bash
# Builds the production image and runs it as a cluster would: without root, capabilities or a writable file system, in
# 256 MiB, against the emulator and a Redis that is signed in to by Entra, with no secret but the projected token, through a
# rotation of that token and of the sealing keys, to the end of a graceful stop. Redis is left out where no redis-server is.
# Needs `npm ci` done, and either docker with its daemon or, as root, podman, buildah and runc, which need none. Where no
# registry can be reached, a base image is made from Debian packages (mmdebstrap) and Node's npm packages.
# Leaves nothing behind: image, containers, caches and their store are in a temporary directory.
set -euo pipefail

usage() {
  cat <<'TEXT'
docker/test-image.sh [options]

  --engine docker|podman  what builds and runs             (default: docker where its daemon answers, else podman)
  --base IMAGE            Node image to build on           (default: the Dockerfile's, or a home-made one under its name)
  --image IMAGE           test this image instead of building one
  --limit-mb N            most that the image may hold, unpacked, in MB of 1,000,000 bytes   (default 200)
  --help

Exit status: 0 as promised, 1 not, 2 wrong arguments, 77 nothing here can build and run images.
TEXT
}

fail() {
  printf 'test-image.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

cannot_run=77
engine=
base=
image=
limit_mb=200
while (($# > 0)); do
  case $1 in
    --engine | --base | --image | --limit-mb)
      (($# >= 2)) || fail "$1 needs a value" 2
      case $1 in
        --engine) engine=$2 ;;
        --base) base=$2 ;;
        --image) image=$2 ;;
        --limit-mb) limit_mb=$2 ;;
      esac
      shift
      ;;
    --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "unknown option $1" 2
      ;;
  esac
  shift
done
[[ -z $engine || $engine == docker || $engine == podman ]] || fail "--engine: docker or podman" 2
[[ $limit_mb =~ ^[1-9][0-9]*$ ]] || fail "--limit-mb: a whole number" 2

cd "$(dirname "${BASH_SOURCE[0]}")/.."
have() { command -v "$1" >/dev/null; }
if ! have node || [[ ! -d node_modules ]]; then fail "npm ci comes first"; fi

# Root inside a container is often denied what it takes to start another one.
may_isolate() {
  local cgroup=/sys/fs/cgroup
  if [[ -d $cgroup/memory ]]; then cgroup=$cgroup/memory; fi
  unshare --mount --uts --ipc --pid --fork --mount-proc true 2>/dev/null || return 1
  mkdir "$cgroup/image-test-$$" 2>/dev/null && rmdir "$cgroup/image-test-$$"
}

if [[ -z $engine ]]; then
  if have docker && docker info >/dev/null 2>&1; then
    engine=docker
  elif ! have podman || ! have buildah || ! { have runc || have crun; } || [[ $(id -u) != 0 ]]; then
    fail "left out: no docker daemon answers, and podman, buildah and runc are not all here (or this is not root)" $cannot_run
  elif ! may_isolate; then
    fail "left out: no docker daemon answers, and this machine grants no namespaces or no cgroup" $cannot_run
  else
    engine=podman
  fi
fi

work=$(mktemp -d /tmp/image-test-XXXXXX)
built=
own_store=no
cleanup() {
  local status=$?
  trap - EXIT INT TERM
  if [[ $engine == docker && -n $built ]]; then docker image rm --force "$built" >/dev/null 2>&1 || true; fi
  if [[ $own_store == yes ]]; then
    podman rm --all --force --time 0 >/dev/null 2>&1 || true
    buildah rm --all >/dev/null 2>&1 || true
    podman rmi --all --force >/dev/null 2>&1 || true
  fi
  rm -rf "$work" || printf 'test-image.sh: %s could not be removed\n' "$work" >&2
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ $engine == podman && -z $image ]]; then
  # A store, a cache and a lock of its own: nothing of this machine's images is used or changed.
  runtime=runc
  have runc || runtime=crun
  export TMPDIR=$work/tmp CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
  mkdir "$TMPDIR"
  driver=overlay
  mkdir -p "$work"/probe/{lower,upper,work,merged}
  if mount -t overlay overlay "$work/probe/merged" \
    -o "lowerdir=$work/probe/lower,upperdir=$work/probe/upper,workdir=$work/probe/work" 2>/dev/null; then
    umount "$work/probe/merged"
  else
    driver=vfs # as inside another container
  fi
  own_store=yes
  printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' \
    "$driver" "$work/store" "$work/run" >"$CONTAINERS_STORAGE_CONF"
  # Ulimits are set because where the runtime may not raise them, the defaults keep containers from starting.
  cat >"$CONTAINERS_CONF" <<TOML
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
[engine]
runtime = "$runtime"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$work/libpod"
TOML
fi

pack() { npm pack --silent --pack-destination "$work" "$1" 2>/dev/null | tail -n 1; }

# The Dockerfile's default base under its own name, from Debian's packages and Node's official binary as npm carries it.
home_made_base() {
  local name=$1 rootfs=$work/rootfs.tar container mount node npm arch
  have mmdebstrap || fail "left out: the base image cannot be pulled, and mmdebstrap is not here to make one" $cannot_run
  echo "base: the Dockerfile's cannot be pulled, so one is made from Debian packages and npm under the name $name"
  case $(uname -m) in
    aarch64 | arm64) arch=arm64 ;;
    *) arch=x64 ;;
  esac
  mmdebstrap --quiet --variant=essential --include=libstdc++6 --aptopt='Acquire::Languages "none"' bookworm "$rootfs"
  node=$(pack "node-linux-$arch@24") || fail "Node cannot be had from the npm registry"
  npm=$(pack npm@11) || fail "npm cannot be had from the npm registry"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$rootfs" / >/dev/null
  rm "$rootfs"
  mount=$(buildah mount "$container")
  tar -xzf "$work/$node" -C "$work" package/bin/node package/LICENSE
  install -D -m 0755 "$work/package/bin/node" "$mount/usr/local/bin/node"
  install -m 0644 "$work/package/LICENSE" "$mount/usr/local/LICENSE"
  rm -r "$work/package"
  mkdir -p "$mount/usr/local/lib/node_modules"
  tar -xzf "$work/$npm" -C "$mount/usr/local/lib/node_modules" --no-same-owner
  mv "$mount/usr/local/lib/node_modules/package" "$mount/usr/local/lib/node_modules/npm"
  chmod 0755 "$mount/usr/local/lib/node_modules/npm/bin/npm-cli.js"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$mount/usr/local/bin/npm"
  buildah umount "$container" >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd node "$container"
  buildah commit --quiet --rm "$container" "$name" >/dev/null
}

# What npm needs inside the build to reach the registry that it reaches here; handed over as secrets, never in a layer.
npm_secrets() {
  local user_config ca
  user_config=$(npm config get userconfig 2>/dev/null)
  ca=$(npm config get cafile 2>/dev/null)
  if [[ ! -f $ca ]]; then ca=${NODE_EXTRA_CA_CERTS:-}; fi
  if [[ -f $user_config ]]; then grep -v '^ *cafile *=' "$user_config" >"$work/npmrc" || true; fi
  touch "$work/npmrc"
  if [[ -f $ca ]]; then
    printf '\ncafile=/run/secrets/ca\n' >>"$work/npmrc"
    secrets+=(--secret "id=ca,src=$ca")
  fi
  chmod 0600 "$work/npmrc"
  secrets+=(--secret "id=npmrc,src=$work/npmrc")
}

if [[ -z $image ]]; then
  image=obo-gateway:test-$$
  built=$image
  secrets=()
  npm_secrets
  arguments=(--file docker/Dockerfile --target production --tag "$image" --build-arg VERSION=test "${secrets[@]}")
  default_base=$(sed -n 's/^ARG NODE_IMAGE=//p' docker/Dockerfile)
  if [[ $engine == docker ]]; then
    if [[ -n $base ]]; then arguments+=(--build-arg "NODE_IMAGE=$base"); fi
    DOCKER_BUILDKIT=1 docker build "${arguments[@]}" .
  else
    if [[ -z $base ]]; then
      base=docker.io/library/$default_base
      if ! timeout 120 buildah pull --quiet "$base" >/dev/null 2>&1; then
        base=localhost/$default_base
        home_made_base "$base"
      fi
    fi
    # No user namespace and no daemon: the build runs in a chroot. Docker's format keeps HEALTHCHECK.
    buildah bud --isolation chroot --format docker --quiet --build-arg "NODE_IMAGE=$base" "${arguments[@]}" . >/dev/null
    image=localhost/$image
  fi
  printf 'built with %s in %d s\n' "$engine" "$SECONDS"
fi

node --import tsx test/deploy/image/main.ts --engine "$engine" --image "$image" --limit-mb "$limit_mb" --directory "$work"
