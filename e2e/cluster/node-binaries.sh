#!/usr/bin/env bash
# Builds what runs in the node image (Kubernetes, etcd, CoreDNS) from the Go module proxy into the cache.
# Usage: node-binaries.sh. Skips what is there. One module and one `go build`: shared packages compile once.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

wanted=()
for c in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl; do
  [ -x "$node_bin/$c" ] || wanted+=("k8s.io/kubernetes/cmd/$c")
done
[ -x "$node_bin/etcd" ] || wanted+=(./etcd)
[ -x "$node_bin/coredns" ] || wanted+=(./coredns)
[ ${#wanted[@]} -gt 0 ] || exit 0

need_go Kubernetes
# k8s.io/kubernetes replaces its libraries by folders that its published module leaves out.
# The same libraries are published as v0.MINOR.PATCH: a module of our own points there.
module=$node_bin/../module
mkdir -p "$module" "$node_bin"
cd "$module"
rm -rf ./*
cp -r "$here/node-image/coredns" "$here/node-image/etcd" .
source=$(go mod download -json "k8s.io/kubernetes@$KUBERNETES_VERSION" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
{
  echo "module s3d-e2e/node"
  grep '^go ' "$source/go.mod"
  echo "require k8s.io/kubernetes $KUBERNETES_VERSION"
  echo "require go.etcd.io/etcd/server/v3 $ETCD_VERSION"
  echo "require github.com/coredns/coredns $COREDNS_VERSION"
  awk -v v="v0.${KUBERNETES_VERSION#v1.}" '$2 == "=>" && $3 ~ /^\.\/staging\// {
    print "replace " $1 " => " $1 " " v }' "$source/go.mod"
} >go.mod

minor=${KUBERNETES_VERSION#v1.}
p=k8s.io/component-base/version
flags="-s -w -X $p.gitVersion=$KUBERNETES_VERSION -X $p.gitMajor=1 -X $p.gitMinor=${minor%%.*}"
log "building ${wanted[*]##*/}"
quiet node-binaries go build -mod=mod -trimpath -ldflags "$flags" -o "$node_bin/" "${wanted[@]}"
