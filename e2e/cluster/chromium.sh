#!/usr/bin/env bash
# Installs Debian's chromium-headless-shell, which the tests of browsers drive. Usage: chromium.sh
# Exit code 3: this machine has no apt, or apt may not be used.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

command -v chromium-headless-shell >/dev/null && exit 0
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || {
  log "chromium is installed from Debian's package, by root; not here"
  exit 3
}
need chromium-headless-shell chromium-headless-shell
