"""The reconciler beside an API server and a pod: the status of a SyncFolder, and who learns of a halt."""

from typing import Any

import jsonpatch
import pytest

from s3d_operator.inject import patch
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE, gateway
from tests.operator.injections import ANONYMOUS
from tests.operator.rounds import NOW, QUIET, Door, events, pods_door, put_gateway, put_pod, reconciler, status
from tests.operator.test_folders import EMPTY, PAGES, SPEC, asking, placed_two, with_two
from tests.operator.test_folders import injected as with_folder
from tests.operator.test_pods import ended, running

__all__ = ["pods_door", "reconciler"]

PATH = "/apis/s3d.dev/v1alpha1/namespaces/shop/syncfolders/docs"
FOLDER: dict[str, Any] = {
    "state": "quiet",
    "halt": "",
    "since": 1_767_268_800.5,
    "files": 3,
    "unsent": 0,
    "conflicts": 0,
    "left_alone": 0,
}


def put_both(api: ApiServer) -> None:
    """A gateway, a folder and a pod that has both."""
    put_gateway(api)
    api.put(PATH, {"metadata": {"namespace": "shop", "name": "docs", "uid": "u-docs", "generation": 2}, "spec": SPEC})
    raw = with_folder(asking())
    raw["metadata"] |= {
        "name": "shop-1",
        "namespace": "shop",
        "uid": "u-1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    put_pod(api, raw | {"status": {"podIP": "127.0.0.1", "initContainerStatuses": [running()]}})


def reasons(api: ApiServer, path: str = PATH) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in api.objects[path]["status"]["conditions"]}


ONE, TWO = (f"/apis/s3d.dev/v1alpha1/namespaces/shop/syncfolders/{name}" for name in ("one", "two"))


def put_several(api: ApiServer, status: dict[str, Any], *volumes: dict[str, Any]) -> None:
    """A gateway, two folders, and a pod that has them, each in a volume."""
    put_gateway(api)
    for path, name, place in ((ONE, "one", "/a"), (TWO, "two", "/b")):
        spec = SPEC | {"mountPath": place, "prefix": f"{name}/"}
        known = {"namespace": "shop", "name": name, "uid": f"u-{name}", "generation": 2}
        api.put(path, {"metadata": known, "spec": spec})
    pod = with_two(*volumes)
    raw = jsonpatch.apply_patch(pod, patch(pod, gateway(ANONYMOUS), IMAGE, placed_two(pod)).operations)
    raw["metadata"] |= {
        "name": "shop-1",
        "namespace": "shop",
        "uid": "u-1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    put_pod(api, raw | {"status": status})


RUNNING = {"podIP": "127.0.0.1", "initContainerStatuses": [running()]}


@pytest.mark.semantics("S-10c", "S-11a")
async def test_each_of_several_folders_has_the_status_that_its_daemon_tells_by_its_name(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_several(api, RUNNING, EMPTY, EMPTY)
    said = [FOLDER | {"name": "one", "files": 5}, FOLDER | {"name": "two", "state": "halted", "halt": "MassDelete"}]
    pods_door.said = QUIET | {"sync_folder": None, "sync_folders": said}
    await eventually(lambda: reconciler.injected.objects)
    assert await reconciler.round(NOW) == "done"
    assert reasons(api, ONE) == {"Ready": "Ready", "Synced": "Equal", "Halted": "NotHalted"}
    assert reasons(api, TWO) == {"Ready": "MassDelete", "Synced": "MassDelete", "Halted": "MassDelete"}
    assert [api.objects[path]["status"]["files"] for path in (ONE, TWO)] == [5, 3]
    assert [api.objects[path]["status"]["pods"]["outdated"] for path in (ONE, TWO)] == [0, 0]
    told = [text for _, reason, text in events(api) if reason == "FolderHalted"]
    assert len(told) == 2
    assert all("the sync folder 'two' of pod shop-1" in text for text in told)
    # What is not said of one is not taken from another.
    pods_door.said = QUIET | {"sync_folder": None, "sync_folders": [said[0] | {"name": "folder"}, said[1]]}
    await reconciler.round(NOW)
    assert reasons(api, ONE)["Synced"] == "PodsUnreachable"


@pytest.mark.semantics("S-9", "S-11a")
async def test_what_went_unsent_is_told_of_those_folders_that_went_with_their_pod(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    left = '{"changes": 0, "bytes": 0, "oldest": null, "parked": 0, "unsent": 5, "unsent_by_folder": [3, 2]}'
    put_several(api, {"phase": "Failed", "initContainerStatuses": [ended(75, left)]}, EMPTY, PAGES)
    await eventually(lambda: reconciler._ended)
    await reconciler.round(NOW)
    found = [(kind, text) for kind, reason, text in events(api) if reason == "FilesLost"]
    assert {kind for kind, _ in found} == {"Pod", "SyncFolder"}
    assert len(found) == 2
    assert all("ended before 3 changes in its sync folder 'one' were sent" in text for _, text in found)


async def test_a_round_writes_what_the_pods_say_of_their_folder_and_no_second_time(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_both(api)
    pods_door.said = QUIET | {"sync_folder": FOLDER, "sync_folders": [FOLDER | {"name": "folder"}]}
    await eventually(lambda: reconciler.injected.objects)
    assert await reconciler.round(NOW) == "done"
    said = api.objects[PATH]["status"]
    assert (said["files"], said["unsent"], said["observedGeneration"]) == (3, 0, 2)
    assert said["pods"] == {"synced": 1, "outdated": 0, "halted": 0, "unreachable": 0}
    assert reasons(api) == {"Ready": "Ready", "Synced": "Equal", "Halted": "NotHalted"}
    before = len(api.requests)
    await reconciler.round(NOW)
    assert [request for request in api.requests[before:] if not request.startswith("GET")] == []


@pytest.mark.semantics("S-10c")
async def test_a_halt_is_told_at_the_folder_and_at_the_pod_once(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_both(api)
    pods_door.said = QUIET | {"sync_folder": FOLDER | {"state": "halted", "halt": "MassDelete"}}
    await eventually(lambda: reconciler.injected.objects)
    for _ in range(2):
        await reconciler.round(NOW)
    assert reasons(api) == {"Ready": "MassDelete", "Synced": "MassDelete", "Halted": "MassDelete"}
    told = [(kind, text) for kind, reason, text in events(api) if reason == "FolderHalted"]
    assert {kind for kind, _ in told} == {"Pod", "SyncFolder"}
    assert len(told) == 2
    assert "since 2026-01-01T12:00:00Z (MassDelete)" in told[0][1]


async def test_words_of_a_newer_sidecar_make_the_folder_unknown_and_not_the_pod(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_both(api)
    pods_door.said = QUIET | {"sync_folder": FOLDER | {"state": "dreaming"}}
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert reasons(api)["Synced"] == "PodsUnreachable"
    assert status(api)["pods"]["unreachable"] == 0


async def test_a_cluster_without_the_definition_keeps_the_status_of_gateways(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_both(api)
    await eventually(lambda: reconciler.injected.objects)
    api.broken = "syncfolders"
    assert await reconciler.round(NOW) == "failed"
    assert status(api)["pods"]["injected"] == 1


@pytest.mark.semantics("S-9", "S-10c")
@pytest.mark.parametrize(
    ("volume", "told"),
    [({"emptyDir": {}}, {"Pod", "SyncFolder"}), ({"persistentVolumeClaim": {"claimName": "pages"}}, set())],
    ids=["emptyDir", "claim"],
)
async def test_what_went_unsent_with_the_volume_of_a_folder_is_told_and_no_change_is_made_up(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually, volume: dict[str, Any], told: set[str]
) -> None:
    put_both(api)
    raw = with_folder(asking(volume={"name": "data"} | volume))
    raw["metadata"] |= {
        "name": "shop-1",
        "namespace": "shop",
        "uid": "u-1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    left = '{"changes": 0, "bytes": 0, "oldest": null, "parked": 0, "unsent": 2}'
    put_pod(api, raw | {"status": {"phase": "Failed", "initContainerStatuses": [ended(75, left)]}})
    await eventually(lambda: reconciler._ended)
    for _ in range(2):
        await reconciler.round(NOW)
    found = [(kind, text) for kind, reason, text in events(api) if reason == "FilesLost"]
    assert ({kind for kind, _ in found}, len(found)) == (told, len(told))
    assert all("ended before 2 changes in its sync folder 'docs' were sent" in text for _, text in found)
    assert not [reason for _, reason, _ in events(api) if reason.startswith("Queue")]


async def test_a_pod_that_runs_without_since_its_folder_cannot_be_had_is_told_so(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_both(api)
    raw = asking(volume={"name": "data", "configMap": {"name": "x"}})
    raw["metadata"] |= {"name": "without", "namespace": "shop", "uid": "u-2", "labels": {"s3d.dev/inject": "true"}}
    put_pod(api, raw | {"status": {"phase": "Running"}})
    await eventually(lambda: reconciler.injected.objects and reconciler.folders.objects)
    # The first one only holds what kopf has reported of folders against a list.
    for _ in range(2):
        await reconciler.round(NOW)
    told = [text for _, reason, text in events(api) if reason == "InjectionSkipped"]
    assert len(told) == 1
    assert "nobody can write to a volume of kind configMap" in told[0]
