"""The Job that delivers what a pod left in a claim. Pure."""

import hashlib

from s3d_operator import build, gateway_settings, layout, mounted
from s3d_operator.gateway_status import LastPod
from s3d_operator.layout import Object
from s3d_operator.names import API_VERSION, CONFIG_HASH, DRAINS, INJECT, INJECTED
from s3d_operator.spec import S3GatewaySpec

# It has an hour, three tries at what is no answer of s3d, and stays for ten minutes to be looked at. Then the operator
# makes another one, where something is left that can be delivered.
SECONDS, RETRIES, KEPT_SECONDS = 3600, 3, 600
# What s3d ends with where it leaves something: all that is left waits for a person.
LEFT_BEHIND = 75


def job_name(gateway: str, claim: str, last: LastPod) -> str:
    """The name of the drain job for what a pod left in a claim: one each, so that none is made twice."""
    return f"{gateway[:46]}-drain-{hashlib.sha256(f'{claim}/{last.uid}'.encode()).hexdigest()[:10]}"


def drain_job(spec: S3GatewaySpec, gateway: Object, image: layout.Image, claim: str, last: LastPod) -> Object:
    """The Job that delivers what a pod left in a claim, as the sidecar would, and takes nothing.

    `gateway` is the metadata of the S3Gateway. The pod gets no gateway itself, and no token of its service account but
    what its identity to the remote is made from.
    """
    name = gateway["name"]
    container = build.sidecar(spec, image, grace_seconds=layout.DRAIN_GRACE_SECONDS, bounds_storage=False)
    for part in ("restartPolicy", "startupProbe", "readinessProbe", "livenessProbe"):
        del container[part]
    if last.run_as_user is not None:
        container["securityContext"]["runAsUser"] = last.run_as_user
    container["volumeMounts"] = [
        mount for mount in container["volumeMounts"] if mount["name"] not in mounted.OF_THE_DOOR
    ]
    template = spec.volume.persistent_volume_claim and spec.volume.persistent_volume_claim.template
    local: Object = {"name": template or layout.NAME, "persistentVolumeClaim": {"claimName": claim}}
    security: Object = {"runAsNonRoot": True} | ({} if last.fs_group is None else {"fsGroup": last.fs_group})
    pod: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": layout.DRAIN_GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "containers": [container | {"args": ["run", "--drain"]}],
        "volumes": [
            local,
            *(
                volume
                for volume in build.volumes(spec, name)
                if volume["name"] not in {layout.NAME, *mounted.OF_THE_DOOR}
            ),
        ],
    }
    if last.service_account_name:
        pod["serviceAccountName"] = last.service_account_name
    if last.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in last.image_pull_secrets]
    if last.node_selector:
        pod["nodeSelector"] = last.node_selector
    if last.tolerations:
        pod["tolerations"] = list(last.tolerations)
    owner = {"apiVersion": API_VERSION, "kind": "S3Gateway", "name": name, "uid": gateway["uid"], "controller": True}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(name, claim, last),
            "namespace": gateway["namespace"],
            "labels": {"app.kubernetes.io/name": "s3d", "app.kubernetes.io/managed-by": "s3d-operator"},
            "annotations": {CONFIG_HASH: gateway_settings.config_hash(spec, None)},
            # Not blockOwnerDeletion: that would take a permission on finalizers.
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": RETRIES,
            "activeDeadlineSeconds": SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    # An eviction is no answer.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": layout.NAME, "operator": "In", "values": [LEFT_BEHIND]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": {INJECT: "false", INJECTED: name, DRAINS: "true"}},
                "spec": pod,
            },
        },
    }
