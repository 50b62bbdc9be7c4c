# shellcheck shell=bash
# Shared by the scripts beside it: pinned versions, the cache directory, image names and small helpers.
# Sourced, never run; expects the caller to have set -euo pipefail.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions.env
. "$here/versions.env"

cache=${S3D_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3d-e2e}
bin=$cache/bin
node_bin=$cache/node-$KUBERNETES_VERSION/bin
# shellcheck disable=SC2034 # both are for the callers
base_image=s3d-e2e/debian:$DEBIAN_SUITE node_image=s3d-e2e/node:$KUBERNETES_VERSION
mkdir -p "$bin"
export PATH=$bin:$node_bin:$PATH
# Plain static binaries, whatever the caller's Go settings are.
export CGO_ENABLED=0 GOFLAGS='' GOWORK=off
# The compiler collects less garbage: a sixth of its time for some memory.
export GOGC=400
# The engines this has to work with have no BuildKit.
export DOCKER_BUILDKIT=0

log() { printf '== %s\n' "$*" >&2; }

# quiet NAME COMMAND...: runs a command with its output in a log file, shown only if it fails.
quiet() {
  local file=$cache/$1.log
  shift
  "$@" >"$file" 2>&1 || { tail -n 30 "$file" >&2; return 1; }
}

# alone NAME: goes on when no other script is at NAME; the lock ends with the script.
alone() {
  exec 9>"$cache/$1.lock"
  flock --nonblock 9 || { log "waiting for another build of $1"; flock 9; }
}

# need PACKAGE COMMAND: installs a Debian package unless its command is there.
need() {
  command -v "$2" >/dev/null && return
  log "installing $1"
  quiet apt flock --close "$cache/apt.lock" apt-get update
  DEBIAN_FRONTEND=noninteractive quiet apt flock --close "$cache/apt.lock" apt-get install -y --no-install-recommends "$1"
}

# need_go: says what is missing where Go is.
need_go() {
  command -v go >/dev/null || { log "Go is needed to build ${1:-this} (go.dev/dl)"; return 3; }
}

# build TAG ARGUMENTS...: docker build.
build() { quiet build docker build --network host -t "$@"; }

have_image() { docker image inspect "$1" >/dev/null 2>&1; }
