#!/usr/bin/env bash
# Builds the images of s3d and of its cluster tests and loads them into the kind cluster $KIND_CLUSTER (default: s3d).
# Usage: images.sh. $BASE_IMAGE: any with Python 3.11 or newer and venv (default: what base-image.sh makes).
# Does nothing that was done before from the same files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=${KIND_CLUSTER:-s3d}
root=$here/../..
alone images
"$here/tools.sh" kind versitygw
if [ -z "${BASE_IMAGE:-}" ]; then
  "$here/base-image.sh"
  BASE_IMAGE=$base_image
fi

context=$(mktemp -d "$cache/images.XXXXXX")
trap 'rm -rf "$context"' EXIT
cp "$bin/versitygw" "$root/e2e/relay.py" "$context/"

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

log "loading ${#images[@]} images into $name"
quiet load kind load docker-image --name "$name" "${images[@]}"
