"""The ConfigMaps that running pods reload from, one for each gateway."""

import json
import time
from collections.abc import Collection

from s3d_operator import gateway_settings, layout
from s3d_operator.choice import read_gateway
from s3d_operator.events import COMPONENT
from s3d_operator.kube import CONFIG_MAPS, Kube, Object
from s3d_operator.names import API_VERSION

# A ConfigMap that somebody has deleted comes back after this.
REAPPLY_SECONDS = 300


class ConfigMaps:
    """What writes them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._applied: dict[str, tuple[str, float]] = {}
        """By a gateway's uid what was last written, and when."""

    async def write(self, raw: Object) -> None:
        """Write the ConfigMap that running pods reload from; a spec that cannot be used leaves the last one."""
        gateway, metadata = read_gateway(raw), raw["metadata"]
        if gateway.spec is None:
            return
        text = json.dumps(gateway_settings.reloaded(gateway.spec), sort_keys=True)
        before, at = self._applied.get(metadata["uid"], ("", 0.0))
        if text == before and time.monotonic() - at < REAPPLY_SECONDS:
            return
        owner = {"apiVersion": API_VERSION, "kind": "S3Gateway", "name": metadata["name"], "uid": metadata["uid"]}
        known = {
            "name": gateway_settings.config_map(gateway.name),
            "namespace": metadata["namespace"],
            "labels": {"app.kubernetes.io/name": "s3d", "app.kubernetes.io/managed-by": COMPONENT},
            # Not blockOwnerDeletion: that would take a permission on finalizers.
            "ownerReferences": [owner | {"controller": True}],
        }
        await self._kube.apply(CONFIG_MAPS, {"metadata": known, "data": {layout.CONFIG_FILE: text}}, COMPONENT)
        self._applied[metadata["uid"]] = text, time.monotonic()

    def keep(self, there: Collection[str]) -> None:
        """Forget what was written for gateways that are not `there` any more, by their uids."""
        self._applied = {uid: applied for uid, applied in self._applied.items() if uid in there}
