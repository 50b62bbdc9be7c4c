#!/usr/bin/env bash
# Puts Debian's prometheus and promtool into the cache without installing the package. Usage: prometheus.sh
# Exit code 3: this machine has no apt, or apt may not be used.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ -x "$bin/promtool" ] && exit 0
{ command -v apt-get && command -v dpkg-deb; } >/dev/null && [ "$(id -u)" = 0 ] || {
  log "prometheus is taken from Debian's package, by root; not here"
  exit 3
}
alone prometheus
[ -x "$bin/promtool" ] && exit 0
log "taking prometheus from its package"
dir=$(mktemp -d "$cache/prometheus.XXXXXX")
quiet apt flock --close "$cache/apt.lock" apt-get update
(cd "$dir" && quiet apt apt-get download prometheus && dpkg-deb -x prometheus_*.deb .)
mv "$dir/usr/bin/prometheus" "$dir/usr/bin/promtool" "$bin/"
rm -r "$dir"
