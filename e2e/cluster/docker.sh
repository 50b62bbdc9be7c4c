#!/usr/bin/env bash
# Makes sure a Docker engine answers: installs Debian's and starts it if none does.
# Usage: docker.sh (root, unless an engine already answers). $DOCKER_DATA_ROOT, $DOCKERD_FLAGS.
# Exit code 3: there is no engine and none can be started here.
#
# Docker 20.10 gives a privileged container every capability that it knows. Where root's own bounding set lacks one
# (CAP_SYS_RESOURCE, say), no kind node starts: "unable to apply caps". The runtime runc-bounded takes out what cannot be
# granted. An engine that runs already gets it by /etc/docker/daemon.json and a SIGHUP:
# {"runtimes": {"bounded": {"path": ".../runc-bounded"}}, "default-runtime": "bounded"}
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Where root lacks a capability, "privileged" (every kind node) needs a runtime that knows.
bounding=$(awk '$1 == "CapBnd:" { print $2 }' /proc/self/status)
bounded=$((16#$bounding != (2 << $(cat /proc/sys/kernel/cap_last_cap)) - 1))

if docker version >/dev/null 2>&1; then
  if [ "$bounded" = 1 ] && [ "$(docker info -f '{{.DefaultRuntime}}')" != bounded ]; then
    log "the running Docker engine may not start privileged containers here (docker.sh says what it needs)"
  fi
  exit 0
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  log "no Docker engine answers, and only root on Debian can start one here"
  exit 3
fi
need docker.io dockerd
flags=(--data-root "${DOCKER_DATA_ROOT:-/var/lib/docker}" --host "${DOCKER_HOST:-unix:///var/run/docker.sock}")
if [ "$bounded" = 1 ]; then
  install "$here/runc-bounded" "$cache/runc-bounded"
  flags+=(--add-runtime "bounded=$cache/runc-bounded" --default-runtime bounded)
fi

log "starting dockerd (log: $cache/dockerd.log)"
# shellcheck disable=SC2086 # $DOCKERD_FLAGS are several words
setsid dockerd "${flags[@]}" ${DOCKERD_FLAGS:-} >"$cache/dockerd.log" 2>&1 </dev/null 9>&- &
for _ in $(seq 60); do
  docker version >/dev/null 2>&1 && exit 0
  sleep 1
done
tail -n 20 "$cache/dockerd.log" >&2
log "no Docker engine answers"
exit 1
