#!/usr/bin/env bash
# Writes the schemas that kubeconform judges the chart by into the cache: of the oldest and the newest Kubernetes that s3d
# is for, and of the kinds of cert-manager and of the Prometheus operator that the chart can make.
# Usage: schemas.sh; writes $cache/schemas/VERSION. Needs Python 3 with PyYAML. Exit code 3: no Go here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# module PATH VERSION: the folder of a published module, which brings files that are no Go.
module() { (cd "$cache" && go mod download -json "$1@$2") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

stamp=$cache/schemas/$(cat "$here/versions.env" "$here/schemas.py" "$here/schemas.sh" | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0
need_go schemas
alone schemas
log "writing schemas of Kubernetes $KUBERNETES_FLOOR and $KUBERNETES_VERSION"
rm -rf "$cache/schemas"
monitoring=$(module github.com/prometheus-operator/prometheus-operator "$PROMETHEUS_OPERATOR_VERSION")
certificates=$(module github.com/cert-manager/cert-manager "$CERT_MANAGER_VERSION")
for version in "$KUBERNETES_FLOOR" "$KUBERNETES_VERSION"; do
  kubernetes=$(module k8s.io/kubernetes "$version")
  "$here/schemas.py" "$cache/schemas/$version" "$kubernetes/api/openapi-spec/swagger.json" \
    "$monitoring"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,podmonitors,prometheusrules}.yaml \
    "$certificates"/deploy/crds/crd-{certificates,issuers}.yaml
done
touch "$stamp"
