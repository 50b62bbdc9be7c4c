#!/usr/bin/env bash
# Creates the kind cluster $KIND_CLUSTER (default: s3d), building whatever is missing; prints its kubeconfig's path.
# Usage: export KUBECONFIG=$(up.sh). WORKERS=n adds worker nodes. Root, unless a Docker engine already answers.
# Exit code 3: this machine cannot have one, and the last line says why.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=${KIND_CLUSTER:-s3d}
workers=${WORKERS:-0}
kubeconfig=$cache/kubeconfig-$name

"$here/docker.sh"
"$here/tools.sh" kind
"$here/node-image.sh" >&2

exists() { kind get clusters 2>/dev/null | grep -x "$name" >/dev/null; }
answers() {
  kind export kubeconfig --name "$name" --kubeconfig "$kubeconfig" >/dev/null 2>&1 &&
    kubectl --kubeconfig "$kubeconfig" get --raw /readyz --request-timeout=20s >/dev/null 2>&1
}

# Nodes that were stopped with their engine do not come back as they were.
if exists && ! answers; then
  log "the cluster $name does not answer: it is made anew"
  kind delete cluster --name "$name" --kubeconfig "$kubeconfig" >&2
fi
if ! exists; then
  {
    # failCgroupV1: the kubelet refuses the old cgroup hierarchy unless told otherwise.
    cat <<'EOF'
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  disableDefaultCNI: true
kubeadmConfigPatches:
  - |
    kind: KubeletConfiguration
    failCgroupV1: false
nodes:
  - role: control-plane
EOF
    for _ in $(seq "$workers"); do echo '  - role: worker'; done
  } | kind create cluster --name "$name" --image "$node_image" --kubeconfig "$kubeconfig" \
    --config - --wait 180s >&2
fi
kind export kubeconfig --name "$name" --kubeconfig "$kubeconfig" >/dev/null 2>&1
export KUBECONFIG=$kubeconfig

# The pod ranges of several nodes reach each other by a route per node.
if [ "$workers" -gt 0 ]; then
  routes=$(kubectl get nodes -o jsonpath='{range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
  while read -r node cidr address; do
    while read -r other _ _; do
      [ "$node" = "$other" ] || docker exec "$other" ip route replace "$cidr" via "$address" </dev/null
    done <<<"$routes"
  done <<<"$routes"
fi

kubectl -n kube-system rollout status deployment/coredns --timeout=120s >&2
echo "$kubeconfig"
