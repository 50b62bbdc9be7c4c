#!/usr/bin/env bash
# Builds the images of s3d and of its cluster tests and loads them into the kind cluster $KIND_CLUSTER (default: s3d).
# Usage: images.sh. $BASE_IMAGE: any with Python 3.11 or newer and venv (default: what base-image.sh makes).
# Does nothing that was done before from the same files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=${KIND_CLUSTER:-s3d}
root=$here/../..
alone images
"$here/tools.sh" kind versitygw opa
"$here/prometheus.sh" || [ $? = 3 ]
if [ -z "${BASE_IMAGE:-}" ]; then
  "$here/base-image.sh"
  BASE_IMAGE=$base_image
fi

context=$(mktemp -d "$cache/images.XXXXXX")
trap 'rm -rf "$context"' EXIT
cp "$bin/versitygw" "$root/e2e/relay.py" "$context/"
mkdir "$context/opa"
cp "$bin/opa" "$context/opa/"

images=()
# image NAME ARGUMENTS...: builds s3d-e2e/NAME.
image() {
  log "image $1"
  build "s3d-e2e/$1:e2e" --build-arg "BASE_IMAGE=$BASE_IMAGE" "${@:2}"
  images+=("s3d-e2e/$1:e2e")
}
image sidecar -f "$root/sidecar/Dockerfile" "$root"
image operator -f "$root/operator/Dockerfile" "$root"
image app "$here/images/app"
image remote -f "$here/images/remote/Dockerfile" "$context"
image opa -f "$here/images/opa/Dockerfile" "$context/opa"
if [ -x "$bin/prometheus" ]; then
  mkdir "$context/prometheus"
  cp "$bin/prometheus" "$context/prometheus/"
  image prometheus -f "$here/images/prometheus/Dockerfile" "$context/prometheus"
fi

# What an upgrade starts from (fixtures/README.md), where this clone has its commit.
for chart in "$here"/fixtures/s3d-*.tgz; do
  commit=${chart##*/s3d-}
  commit=${commit%.tgz}
  git -C "$root" cat-file -e "$commit^{commit}" 2>/dev/null || continue
  for part in sidecar operator; do
    earlier=s3d-e2e/$part:$commit
    if ! have_image "$earlier"; then
      log "image $part of $commit"
      # The modes of a working tree, so that layers which did not change are found.
      git -C "$root" -c tar.umask=022 archive "$commit" | build "$earlier" --build-arg "BASE_IMAGE=$BASE_IMAGE" -f "$part/Dockerfile" -
    fi
    images+=("$earlier")
  done
done

log "loading ${#images[@]} images into $name"
quiet load kind load docker-image --name "$name" "${images[@]}"
