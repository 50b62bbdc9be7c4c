#!/usr/bin/env bash
# Builds the kind node image: base image + Kubernetes binaries + the control-plane images, all made here.
# Usage: node-image.sh. Does nothing if the image was made from the same inputs; FORCE=1 rebuilds it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

alone node-image
"$here/base-image.sh"
inputs=$({
  docker image inspect -f '{{.Id}}' "$base_image"
  echo "$KUBERNETES_VERSION $ETCD_VERSION $COREDNS_VERSION $KIND_VERSION"
  find "$here/node-image.sh" "$here/node-image" -type f -print0 | sort -z | xargs -0 cat
} | sha256sum | cut -c1-16)
[ -z "${FORCE:-}" ] && [ "$(docker image inspect -f '{{index .Config.Labels "inputs"}}' "$node_image" 2>/dev/null)" = "$inputs" ] && exit 0

"$here/node-binaries.sh"
need gcc gcc

context=$(mktemp -d "$cache/node-image.XXXXXX")
builder=
trap 'rm -rf "$context"; [ -z "$builder" ] || docker rm -f "$builder" >/dev/null' EXIT

log "node: Debian packages, kind's node files, Kubernetes binaries"
node=$context/node
kind_source=$(go mod download -json "sigs.k8s.io/kind@$KIND_VERSION" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
mkdir -p "$node"
cp -r "$kind_source/images/base/files" "$node/kind"
chmod -R u+w "$node/kind"
mkdir "$node/bin"
cp "$node_bin"/{kubelet,kubeadm,kubectl} "$node/bin/"
install "$here/node-image/crictl" "$node/bin/"
cp "$here"/node-image/{Dockerfile,cni.conf.template,node.toml,storage.yaml} "$node/"
build "$node_image-empty" --build-arg "BASE_IMAGE=$base_image" "$node"

# The names kubeadm and kind's containerd configuration ask for, each a binary of ours.
wanted=$("$node_bin/kubeadm" config images list --kubernetes-version "$KUBERNETES_VERSION" 2>/dev/null
  sed -n 's/^ *sandbox_image = "\(.*\)"/\1/p' "$node/kind/etc/containerd/config.toml")
images=()
for image in $wanted; do
  component=${image##*/}
  component=${component%:*}
  dir=$context/$component
  from=scratch run=
  mkdir -p "$dir"
  case $component in
    pause) gcc -static -Os -s -o "$dir/pause" "$here/node-image/pause.c" ;;
    kube-proxy)
      cp "$node_bin/$component" "$dir/"
      from=$base_image
      run='RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends iptables nftables conntrack kmod && rm -rf /var/lib/apt/lists/*'
      ;;
    *) cp "$node_bin/$component" "$dir/" ;;
  esac
  log "component $image"
  build "$image" -f - "$dir" <<EOF
FROM $from
$run
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY $component /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/$component"]
EOF
  images+=("$image")
done

log "importing ${#images[@]} images into the node's containerd"
builder=$(docker run -d --network none --entrypoint sleep --security-opt seccomp=unconfined "$node_image-empty" infinity)
docker exec -d "$builder" sh -c 'exec containerd >/tmp/containerd.log 2>&1'
for _ in $(seq 30); do
  docker exec "$builder" ctr version >/dev/null 2>&1 && break
  sleep 0.5
done
docker save "${images[@]}" |
  docker exec -i "$builder" ctr -n k8s.io images import --all-platforms --no-unpack --digests - >/dev/null
docker exec "$builder" sh -c 'pkill -x containerd; rm -rf /tmp/containerd.log /run/containerd'
docker commit --change "LABEL inputs=$inputs" \
  --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' "$builder" "$node_image" >/dev/null
docker rm -f "$builder" >/dev/null
builder=
docker rmi "${images[@]}" "$node_image-empty" >/dev/null 2>&1 || true
docker image prune -f --filter label=inputs >/dev/null
log "$node_image"
