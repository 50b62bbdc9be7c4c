#!/usr/bin/env bash
# Installs zsh and fish from Debian's packages: the tests of the completion ask each shell. Usage: shells.sh
# Exit code 3: this machine has no apt, or apt may not be used.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

{ command -v zsh && command -v fish; } >/dev/null && exit 0
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || {
  log "zsh and fish are installed from Debian's packages, by root; not here"
  exit 3
}
need zsh zsh
need fish fish
