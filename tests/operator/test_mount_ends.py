"""The reconciler beside an API server and a pod that ended: files of its mount that are no objects."""

from typing import Any

import pytest

from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.test_inject import ANONYMOUS
from tests.operator.test_pods import ended, injected
from tests.operator.test_reconcile import NOW, events, pods_door, put_gateway, put_pod, reconciler

__all__ = ["pods_door", "reconciler"]

LEFT = '{"changes": 0, "bytes": 0, "oldest": null, "parked": 0, "unpublished": 2}'


@pytest.mark.parametrize(
    ("volume", "told"),
    [({"emptyDir": {}}, ["Pod"]), ({"persistentVolumeClaim": {"claimName": "queue"}}, [])],
    ids=["emptyDir", "claim"],
)
@pytest.mark.semantics("M-5")
async def test_files_that_went_with_the_volume_are_told_once(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually, volume: dict[str, Any], told: list[str]
) -> None:
    spec = ANONYMOUS | {"fuseMount": {"enabled": True}, "volume": volume}
    put_gateway(api, spec=spec)
    put_pod(api, injected(spec=spec, phase="Failed", initContainerStatuses=[ended(75, LEFT)]))
    await eventually(lambda: reconciler._ended)
    for _ in range(2):
        await reconciler.round(NOW)
    found = [(kind, text) for kind, reason, text in events(api) if reason == "FilesLost"]
    assert [kind for kind, _ in found] == told
    assert all("ended before 2 files of its mount became objects" in text for _, text in found)
    assert not [reason for _, reason, _ in events(api) if reason.startswith("Queue")]
