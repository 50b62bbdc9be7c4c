"""Which folder a pod gets, where, and as whom; what is refused, and in which words."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from s3d import config
from s3d.sync.guards import Halt
from s3d.sync.state import State
from s3d_operator import folders, layout, pods
from s3d_operator.choice import Skip, wanted
from s3d_operator.folders import Placed, place
from s3d_operator.inject import patch
from s3d_operator.names import FOLDER, FOLDER_HASH
from s3d_operator.pods import read_pod
from tests.operator.goldens import FOLDERS, IMAGE, folder, gateway, make, read
from tests.operator.injections import ANONYMOUS, sidecar

SPEC: dict[str, Any] = {"gatewayRef": {"name": "default"}, "bucket": "team", "prefix": "docs/", "mountPath": "/data"}
GOLDEN = sorted(FOLDERS.glob("*.yaml"))
CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "pages"}}
ROOT, ME = {"securityContext": {"runAsUser": 0}}, {"securityContext": {"runAsUser": 1000}}


def asking(
    container: dict[str, Any] | None = None, volume: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A pod that names the folder `docs` and mounts a volume at its place."""
    app = {"name": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}]} | (
        ME if container is None else container
    )
    return {
        "metadata": {"annotations": {FOLDER: "docs"}},
        "spec": {"containers": [app], "volumes": [volume or {"name": "data", "emptyDir": {}}]} | spec,
    }


def placed_in(pod: dict[str, Any], spec: dict[str, Any] = SPEC, gateway_spec: dict[str, Any] = ANONYMOUS) -> Any:
    return place(pod, gateway(gateway_spec), [folder(spec)])


def injected(
    pod: dict[str, Any], spec: dict[str, Any] = SPEC, gateway_spec: dict[str, Any] = ANONYMOUS
) -> dict[str, Any]:
    placed = placed_in(pod, spec, gateway_spec)
    assert isinstance(placed, Placed), placed
    made: dict[str, Any] = jsonpatch.apply_patch(pod, patch(pod, gateway(gateway_spec), IMAGE, placed).operations)
    return made


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_pod_gets_its_golden_patch_and_no_second_one(path: Path) -> None:
    given, specs, operations = read(path)
    assert make(path) == operations
    done = jsonpatch.apply_patch(given, operations)
    placed = place(done, gateway(specs["gateway"]), [folder(specs["folder"])])
    assert isinstance(placed, Placed)
    assert patch(done, gateway(specs["gateway"]), IMAGE, placed).operations == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_daemon_takes_the_settings_of_a_golden_pod(path: Path) -> None:
    given, _, operations = read(path)
    env = sidecar(jsonpatch.apply_patch(given, operations))["env"]
    said = config.load({"S3D_CONFIG": next(each["value"] for each in env if each["name"] == "S3D_CONFIG")}).sync_folder
    assert (said.enabled, said.bucket, str(said.dir)) == (True, "team", layout.FOLDER_DIR)


def test_a_pod_that_names_no_folder_gets_none() -> None:
    pod = asking()
    del pod["metadata"]["annotations"]
    assert placed_in(pod) is None


def test_each_field_of_a_spec_but_the_place_becomes_a_setting_of_the_daemon() -> None:
    given = SPEC | {"direction": "Push", "filter": ["team"], "maxSize": "5Mi", "pollSeconds": 3, "stableSeconds": 2}
    given |= {"maxDeletePercent": 20, "maxDeleteFiles": 7, "trashSeconds": 60}
    given |= {"maxAgeSeconds": 90, "deletes": "Trash"}
    spec = folder(given).spec
    assert spec
    said = config.load({"S3D_CONFIG": json.dumps({"S3D_LOCAL_DIR": "/l", **folders.settings(spec)})}).sync_folder
    assert (said.bucket, said.prefix, said.direction, said.max_size) == ("team", "docs/", "Push", 5 << 20)
    assert (said.poll, said.stable_for, said.max_delete, said.max_delete_files, said.trash_for) == (3, 2, 0.2, 7, 60)
    assert (said.max_age, said.deletes) == (90, "Trash")
    assert folders.settings(spec).keys() - {"S3D_SYNC_FOLDER"} == folders.FIELDS.keys()


@pytest.mark.semantics("S-10a")
def test_the_sidecar_works_as_the_container_that_writes_there() -> None:
    reader = {"name": "reader", "volumeMounts": [{"name": "data", "mountPath": "/data/", "readOnly": True}]}
    writer = {
        "name": "writer",
        "securityContext": {"runAsUser": 7},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = asking(containers=[reader, writer], securityContext={"runAsUser": 5, "runAsGroup": 6})
    security = sidecar(injected(pod))["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (7, 6, True)


def test_a_sidecar_that_reads_secrets_keeps_the_group_of_root() -> None:
    keys = ANONYMOUS | {"access": {"keysSecretRef": {"name": "door-keys"}}}
    pod = asking({"securityContext": {"runAsUser": 7, "runAsGroup": 6}})
    security = sidecar(injected(pod, gateway_spec=keys))["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (7, 0)


@pytest.mark.semantics("S-10a")
@pytest.mark.parametrize("who", [{}, ROOT])
def test_a_user_that_is_not_known_or_root_needs_the_group_of_the_pod(who: dict[str, Any]) -> None:
    assert placed_in(asking(who)).reason == "UnknownUser"
    made = injected(asking(who, securityContext={"fsGroup": 2000}))
    assert sidecar(made)["securityContext"]["runAsUser"] == layout.USER
    warned = patch(made, gateway(ANONYMOUS), IMAGE, placed_in(made)).warnings
    assert any("have to be writable for the group" in each for each in warned)


@pytest.mark.semantics("S-10b")
def test_the_app_waits_behind_the_sidecar_without_a_probe_that_could_end_it() -> None:
    pod = asking(initContainers=[{"name": "prepare"}])
    inits = injected(pod, SPEC | {"waitForInitialSync": True})["spec"]["initContainers"]
    assert [each["name"] for each in inits] == ["s3d", "s3d-sync-wait", "prepare"]
    waits = inits[1]
    assert waits["args"] == ["sync", "wait"]
    assert not waits.keys() & {"startupProbe", "livenessProbe", "readinessProbe", "restartPolicy"}
    assert waits["securityContext"] == inits[0]["securityContext"]
    assert [each["name"] for each in waits["env"]] == ["S3D_LOCAL_DIR"], "it is no app"


OWN_CLAIM = ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "pages"}}}
REFUSED: list[tuple[str, Any, dict[str, Any], dict[str, Any], str, str]] = [
    ("two", asking() | {"metadata": {"annotations": {FOLDER: "a,b"}}}, SPEC, ANONYMOUS, "NoSuchFolder", "one folder"),
    ("wrong", asking(), SPEC | {"filter": ["team["]}, ANONYMOUS, "InvalidFolder", "spec.filter"),
    ("elsewhere", asking(), SPEC | {"gatewayRef": {"name": "b"}}, ANONYMOUS, "OtherGateway", "this one gets 'default'"),
    (
        "no queue",
        asking(),
        SPEC,
        ANONYMOUS | {"writeQueue": {"enabled": False}},
        "InvalidFolder",
        "set writeQueue.enabled",
    ),
    ("no mount", asking({"volumeMounts": []}), SPEC, ANONYMOUS, "NoFolderVolume", "mount one there"),
    (
        "variables",
        asking(ME | {"volumeMounts": [{"name": "data", "mountPath": "/data", "subPathExpr": "$(POD)"}]}),
        SPEC,
        ANONYMOUS,
        "NoFolderVolume",
        "use subPath",
    ),
    (
        "a config map",
        asking(volume={"name": "data", "configMap": {"name": "x"}}),
        SPEC,
        ANONYMOUS,
        "NoFolderVolume",
        "nobody can write to a volume of kind configMap",
    ),
    (
        "read-only",
        asking(volume={"name": "data", "persistentVolumeClaim": {"claimName": "pages", "readOnly": True}}),
        SPEC,
        ANONYMOUS,
        "NoFolderVolume",
        "mounted read-only",
    ),
    ("a name", asking(initContainers=[{"name": "s3d-sync-wait"}]), SPEC, ANONYMOUS, "NameTaken", "rename it"),
    ("the queue's claim", asking(volume=CLAIM), SPEC, OWN_CLAIM, "NoFolderVolume", "a volume of its own"),
    ("a base that outlives", asking(), SPEC, OWN_CLAIM, "NoFolderVolume", "would seem to be emptied and halt"),
]


@pytest.mark.semantics("S-10")
@pytest.mark.parametrize(
    ("pod", "spec", "gateway_spec", "reason", "words"),
    [each[1:] for each in REFUSED],
    ids=[each[0] for each in REFUSED],
)
def test_a_pod_that_cannot_have_its_folder_is_told_what_to_do(
    pod: dict[str, Any], spec: dict[str, Any], gateway_spec: dict[str, Any], reason: str, words: str
) -> None:
    skip = placed_in(pod, spec, gateway_spec)
    assert isinstance(skip, Skip)
    assert (skip.reason, words in skip.message) == (reason, True), skip.message


def test_a_misspelt_name_of_the_annotation_is_refused_with_the_right_one() -> None:
    pod = {"metadata": {"annotations": {"s3d.dev/sync-folders": "docs"}}, "spec": {"containers": []}}
    skip = wanted(pod, [gateway(ANONYMOUS)])
    assert isinstance(skip, Skip)
    assert f"did you mean annotation {FOLDER}" in skip.message


def test_a_changed_spec_makes_pods_outdated_and_a_pod_without_the_hash_has_no_folder() -> None:
    raw = injected(asking())
    raw["metadata"] |= {"name": "shop-1", "namespace": "shop", "uid": "u"}
    one, other = folder(SPEC).spec, folder(SPEC | {"pollSeconds": 11}).spec
    assert one
    assert other
    assert (read_pod(raw).folder, read_pod(raw).folder_hash) == ("docs", folders.folder_hash(one))
    assert folders.folder_hash(one) != folders.folder_hash(other)
    older = copy.deepcopy(raw)
    del older["metadata"]["annotations"][FOLDER_HASH]
    assert read_pod(older).folder == ""


def test_the_operator_knows_the_words_of_the_daemon() -> None:
    assert {str(each) for each in State} == pods.STATES
    assert {str(each) for each in Halt} == pods.HALTS
