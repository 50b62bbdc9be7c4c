#!/usr/bin/env bash
# Builds pinned Go programs, tools and S3 servers, into the cache and skips those that are there.
# Usage: tools.sh [NAME...]; without names: kind helm kubeconform. Binaries: $cache/bin. Exit code 3: no Go here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# name, package, version
table="
kind        sigs.k8s.io/kind                            $KIND_VERSION
helm        helm.sh/helm/v3/cmd/helm                    $HELM_VERSION
kubeconform github.com/yannh/kubeconform/cmd/kubeconform $KUBECONFORM_VERSION
kube-score  github.com/zegl/kube-score/cmd/kube-score  $KUBE_SCORE_VERSION
opa         github.com/open-policy-agent/opa            $OPA_VERSION
versitygw   github.com/versity/versitygw/cmd/versitygw  $VERSITYGW_VERSION
minio       github.com/minio/minio                      $MINIO_VERSION
rclone      github.com/rclone/rclone                    $RCLONE_VERSION
otelcol     .                                           $OTELCOL_VERSION
"
# What the collector beside this script is made of; the others bring their own.
modules="
go.opentelemetry.io/collector/otelcol@$OTELCOL_VERSION
go.opentelemetry.io/collector/receiver/otlpreceiver@$OTELCOL_VERSION
go.opentelemetry.io/collector/confmap/provider/fileprovider@$OTELCOL_STABLE_VERSION
go.opentelemetry.io/collector/service/telemetry/otelconftelemetry@$OTELCOL_VERSION
github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter@$OTELCOL_CONTRIB_VERSION
"

[ $# -gt 0 ] || set -- kind helm kubeconform
for name; do
  read -r package version < <(awk -v n="$name" '$1 == n { print $2, $3 }' <<<"$table") || {
    log "unknown tool $name"
    exit 2
  }
  dir=$cache/tools/$name-$version
  if [ ! -x "$dir/$name" ]; then
    need_go "$name"
    alone "tool-$name"
  fi
  if [ ! -x "$dir/$name" ]; then
    log "building $name: $package@$version"
    # A module of its own instead of `go install`, which refuses modules with replace directives (etcd).
    tmp=$(mktemp -d "$cache/tool.XXXXXX")
    (
      cd "$tmp"
      go mod init "s3d-e2e/$name"
      if [ "$package" = . ]; then
        cp "$here/$name/"*.go .
        # shellcheck disable=SC2086 # a module a word
        go get $modules
      else
        go get "$package@$version"
      fi
      go build -trimpath -ldflags '-s -w' -o "$name" "$package"
    ) 2>"$cache/tool-$name.log" || { tail -n 20 "$cache/tool-$name.log" >&2; exit 1; }
    mkdir -p "$dir"
    mv "$tmp/$name" "$dir/"
    rm -r "$tmp"
  fi
  ln -sfn "$dir/$name" "$bin/$name"
done
