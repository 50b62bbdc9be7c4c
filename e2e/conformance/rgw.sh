#!/usr/bin/env bash
# Ceph RGW of Debian's packages on loopback: a monitor, an OSD that keeps everything in memory, and radosgw with beast.
# Usage: rgw.sh install: puts the packages in place, by root, where they are missing.
#        rgw.sh run DIRECTORY PORT MONITOR_PORT ACCESS_KEY SECRET_KEY: runs it until SIGTERM, then ends what it started.
# `install` exits with 3 where this machine cannot have it. DIRECTORY is an empty one; nothing in it is needed later.
#
# radosgw is started again whenever it ends: some requests abort version 16.2. The parts check each other's keys
# (cephx), since without them this radosgw has no right to anything (EACCES).
set -euo pipefail

install_packages() {
  . "$(dirname "$0")/../cluster/lib.sh"
  local missing=() program
  for program in ceph-mon ceph-osd radosgw; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    log "Ceph RGW is taken from Debian's packages ceph-mon, ceph-osd and radosgw, by root; not here"
    exit 3
  fi
  # Each package has the name of its program.
  for program in "${missing[@]}"; do
    need "$program" "$program"
  done
}

write_settings() {
  fsid=$(cat /proc/sys/kernel/random/uuid)
  cat >"$directory/ceph.conf" <<END
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$monitor_port
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $directory/keyring
run dir = $directory
admin socket =
pid file =
crash dir = $directory
log file =
debug rocksdb = 0
log to stderr = true
err to stderr = true
mon cluster log file = $directory/cluster.log
mon data = $directory/mon
mon data avail crit = 1
mon data avail warn = 1
mon allow pool size one = true
mon max pg per osd = 1000
osd data = $directory/osd
osd objectstore = memstore
memstore device bytes = 8589934592
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
rgw data = $directory/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = s3d-key=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
END
}

# start NAME COMMAND...: runs a part beside this script; it ends with the script even if that is killed.
start() {
  local log=$directory/$1.log
  shift
  setpriv --pdeathsig KILL "$@" >>"$log" 2>&1 &
  parts+=($!)
}

stop() {
  trap - EXIT TERM INT
  kill -KILL "${parts[@]}" 2>/dev/null || true
  wait
}

run() {
  directory=$1 port=$2 monitor_port=$3 access_key=$4 secret_key=$5
  parts=() osd=$(cat /proc/sys/kernel/random/uuid)
  export CEPH_CONF=$directory/ceph.conf
  ulimit -c 0
  trap stop EXIT
  trap 'exit 0' TERM INT
  write_settings
  mkdir "$directory/mon" "$directory/osd" "$directory/rgw"
  ceph-authtool --create-keyring "$directory/keyring" --gen-key -n mon. --cap mon 'allow *'
  ceph-authtool "$directory/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  ceph-authtool "$directory/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  monmaptool --create --fsid "$fsid" --addv a "v2:127.0.0.1:$monitor_port" --set-min-mon-release 16 "$directory/monmap"
  ceph-mon -i a --mkfs --monmap "$directory/monmap" --keyring "$directory/keyring"
  start mon ceph-mon -i a -f
  ceph --connect-timeout 60 osd new "$osd"
  ceph-osd -i 0 --mkfs --osd-uuid "$osd"
  start osd ceph-osd -i 0 -f
  start account radosgw-admin user create --uid "$access_key" --display-name "$access_key" --email s3d@example.com \
    --access-key "$access_key" --secret-key "$secret_key"
  wait "${parts[-1]}"
  while :; do
    start rgw radosgw -n client.admin -f
    wait "${parts[-1]}" || echo "radosgw ended with exit code $?"
    unset 'parts[-1]'
    sleep 0.2
  done
}

case "${1-} $#" in
"install 1") install_packages ;;
"run 6") run "${@:2}" ;;
*)
  sed -n 's/^# \{0,1\}//; 2,5p' "$0" >&2
  exit 2
  ;;
esac
