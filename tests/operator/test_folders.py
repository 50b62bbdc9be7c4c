"""Which folders a pod gets, where, and as whom; what is refused, and in which words."""

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
from s3d_operator.folders import place
from s3d_operator.inject import patch
from s3d_operator.names import FOLDER, FOLDER_HASH
from s3d_operator.pods import PodFolder, read_pod
from tests.operator.goldens import FOLDERS, IMAGE, folder, gateway, make, place_golden, read
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
    assert not isinstance(placed, Skip), placed
    made: dict[str, Any] = jsonpatch.apply_patch(pod, patch(pod, gateway(gateway_spec), IMAGE, placed).operations)
    return made


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_pod_gets_its_golden_patch_and_no_second_one(path: Path) -> None:
    given, specs, operations = read(path)
    assert make(path) == operations
    done = jsonpatch.apply_patch(given, operations)
    assert patch(done, gateway(specs["gateway"]), IMAGE, place_golden(done, specs)).operations == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_daemon_takes_the_settings_of_a_golden_pod(path: Path) -> None:
    given, specs, operations = read(path)
    container = sidecar(jsonpatch.apply_patch(given, operations))
    env = {each["name"]: each["value"] for each in container["env"]}
    kept = config.load({"S3D_CONFIG": env["S3D_CONFIG"]}).folders
    assert {(said.bucket, said.prefix) for said in kept.values()} == {
        (spec["bucket"], spec.get("prefix", "")) for spec in specs["folders"].values()
    }
    assert {str(said.dir) for said in kept.values()} <= {each["mountPath"] for each in container["volumeMounts"]}
    # What both sides had of one is where it was before there were several.
    assert list(kept) == (["folder"] if len(specs["folders"]) == 1 else list(specs["folders"]))


def test_a_pod_that_names_no_folder_gets_none() -> None:
    pod = asking()
    del pod["metadata"]["annotations"]
    assert placed_in(pod) == ()


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


def named(names: str) -> dict[str, Any]:
    return asking() | {"metadata": {"annotations": {FOLDER: names}}}


OWN_CLAIM = ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "pages"}}}
REFUSED: list[tuple[str, Any, dict[str, Any], dict[str, Any], str, str]] = [
    ("unknown", named("docs,b"), SPEC, ANONYMOUS, "NoSuchFolder", "'b', which this namespace does not have"),
    ("unnamed", named("docs,"), SPEC, ANONYMOUS, "InvalidAnnotation", "with commas between them"),
    ("twice", named("docs, docs"), SPEC, ANONYMOUS, "InvalidAnnotation", "names SyncFolder 'docs' twice"),
    ("many", named("docs" + ",docs" * 16), SPEC, ANONYMOUS, "InvalidAnnotation", "17 SyncFolders, and a pod has 16"),
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


def with_two(
    *volumes: dict[str, Any], paths: tuple[str, str] = ("/a", "/b"), subs: tuple[str, str] = ("", ""), user: int = 1000
) -> dict[str, Any]:
    """A pod that names two folders, with a container for each that mounts its volume, or the only one."""
    found = [{"name": f"v{number}"} | volume for number, volume in enumerate(volumes)]
    apps = []
    for name, volume, path, sub, who in zip("ab", (found[0], found[-1]), paths, subs, (1000, user), strict=True):
        mount = {"name": volume["name"], "mountPath": path} | ({"subPath": sub} if sub else {})
        apps.append({"name": f"app-{name}", "securityContext": {"runAsUser": who}, "volumeMounts": [mount]})
    return {"metadata": {"annotations": {FOLDER: "one,two"}}, "spec": {"containers": apps, "volumes": found}}


def placed_two(
    pod: dict[str, Any],
    paths: tuple[str, str] = ("/a", "/b"),
    prefixes: tuple[str, str] = ("one/", "two/"),
    buckets: tuple[str, str] = ("team", "team"),
) -> Any:
    specs = [
        SPEC | {"mountPath": path, "prefix": prefix, "bucket": bucket}
        for path, prefix, bucket in zip(paths, prefixes, buckets, strict=True)
    ]
    known = [folder(spec, name) for name, spec in zip(("one", "two"), specs, strict=True)]
    return place(pod, gateway(ANONYMOUS), known)


EMPTY: dict[str, Any] = {"emptyDir": {}}
PAGES: dict[str, Any] = {"persistentVolumeClaim": {"claimName": "pages"}}


@pytest.mark.semantics("S-11a")
@pytest.mark.parametrize(
    ("pod", "specs", "reason", "words"),
    [
        (with_two(EMPTY, EMPTY, paths=("/a", "/a/b")), {"paths": ("/a", "/a/b")}, "FoldersOverlap", "/a and /a/b"),
        (with_two(EMPTY, EMPTY, paths=("/a", "/a")), {"paths": ("/a", "/a")}, "FoldersOverlap", "/a and /a"),
        (with_two(EMPTY), {}, "FoldersOverlap", "in volume 'v0' at / and /"),
        (with_two(PAGES, subs=("x", "x/y")), {}, "FoldersOverlap", "in claim 'pages' at /x and /x/y"),
        (with_two(PAGES, PAGES), {}, "FoldersOverlap", "in claim 'pages' at / and /"),
        (
            with_two({"hostPath": {"path": "/srv/"}}, {"hostPath": {"path": "/"}}, subs=("x", "srv")),
            {},
            "FoldersOverlap",
            "in the node at /srv/x and /srv",
        ),
        (with_two(EMPTY, EMPTY), {"prefixes": ("a/", "a/b/")}, "FoldersOverlap", "bucket team in common"),
        (with_two(EMPTY, EMPTY), {"prefixes": ("", "b/")}, "FoldersOverlap", "by spec.prefix '' and 'b/'"),
        (with_two(EMPTY, EMPTY, user=2000), {}, "UsersDiffer", "1000 (container 'app-a') and 2000 (container 'app-b')"),
    ],
)
def test_two_folders_that_a_pod_cannot_have_both_are_named_with_what_to_do(
    pod: dict[str, Any], specs: dict[str, Any], reason: str, words: str
) -> None:
    skip = placed_two(pod, **specs)
    assert isinstance(skip, Skip)
    assert (skip.reason, words in skip.message) == (reason, True), skip.message
    assert "SyncFolders 'one' and 'two'" in skip.message


@pytest.mark.semantics("S-11a")
@pytest.mark.parametrize(
    ("pod", "specs"),
    [
        (with_two(EMPTY, EMPTY, paths=("/a", "/ab")), {"paths": ("/a", "/ab")}),
        (with_two(PAGES, subs=("x", "xy")), {}),
        (with_two(EMPTY, PAGES), {"prefixes": ("a/", "ab/")}),
        (with_two(EMPTY, EMPTY), {"prefixes": ("", ""), "buckets": ("team", "mail")}),
    ],
)
def test_two_folders_with_nothing_in_common_are_the_daemons_list(pod: dict[str, Any], specs: dict[str, Any]) -> None:
    placed = placed_two(pod, **specs)
    assert not isinstance(placed, Skip), placed
    made = jsonpatch.apply_patch(pod, patch(pod, gateway(ANONYMOUS), IMAGE, placed).operations)
    assert [each["mountPath"] for each in sidecar(made)["volumeMounts"][-2:]] == [
        "/var/lib/s3d-folders/one",
        "/var/lib/s3d-folders/two",
    ]
    loaded = config.load({"S3D_CONFIG": json.dumps({"S3D_LOCAL_DIR": "/l", **folders.settings_of(placed)})}).folders
    assert [str(said.dir) for said in loaded.values()] == ["/var/lib/s3d-folders/one", "/var/lib/s3d-folders/two"]


@pytest.mark.semantics("S-10a")
def test_a_known_user_is_the_sidecars_beside_one_that_the_group_of_the_pod_lets_in() -> None:
    pod = with_two(EMPTY, EMPTY)
    del pod["spec"]["containers"][0]["securityContext"]
    assert placed_two(pod).reason == "UnknownUser"
    pod["spec"]["securityContext"] = {"fsGroup": 2000}
    placed = placed_two(pod)
    made = patch(pod, gateway(ANONYMOUS), IMAGE, placed)
    assert sidecar(jsonpatch.apply_patch(pod, made.operations))["securityContext"]["runAsUser"] == 1000
    assert [each for each in made.warnings if "writable for the group" in each and "'app-a'" in each]


@pytest.mark.semantics("S-10b")
@pytest.mark.parametrize(
    ("wait", "args"),
    [
        ((True, True), ["sync", "wait"]),
        ((False, True), ["sync", "wait", "--folder", "two"]),
        ((False, False), None),
    ],
)
def test_an_app_waits_for_those_of_its_folders_that_say_so(wait: tuple[bool, bool], args: list[str] | None) -> None:
    pod = with_two(EMPTY, EMPTY)
    specs = [
        SPEC | {"mountPath": path, "prefix": path[1:] + "/", "waitForInitialSync": said}
        for path, said in zip(("/a", "/b"), wait, strict=True)
    ]
    placed = place(pod, gateway(ANONYMOUS), [folder(specs[0], "one"), folder(specs[1], "two")])
    assert not isinstance(placed, Skip), placed
    made = jsonpatch.apply_patch(pod, patch(pod, gateway(ANONYMOUS), IMAGE, placed).operations)
    found = [each["args"] for each in made["spec"]["initContainers"] if each["name"] == layout.WAIT]
    assert found == ([args] if args else [])
    assert not isinstance(place(made, gateway(ANONYMOUS), [folder(specs[0], "one"), folder(specs[1], "two")]), Skip)


def test_a_pod_of_several_folders_is_outdated_by_each_and_keeps_what_it_was_made_with() -> None:
    pod = with_two(EMPTY, PAGES)
    placed = placed_two(pod)
    raw = jsonpatch.apply_patch(pod, patch(pod, gateway(ANONYMOUS), IMAGE, placed).operations)
    raw["metadata"] |= {"name": "shop-1", "namespace": "shop", "uid": "u"}
    hashes = [folders.folder_hash(each.spec) for each in placed]
    made = {"one": PodFolder("one", hashes[0], outlives=False), "two": PodFolder("two", hashes[1], outlives=True)}
    assert read_pod(raw).folders == made
    raw["metadata"]["annotations"][FOLDER] = "one,two,three"
    assert read_pod(raw).folders == made, "it has no third one"
    raw["metadata"]["annotations"][FOLDER] = "one"
    assert read_pod(raw).folders == {"one": made["one"]}


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
    assert read_pod(raw).folders == {"docs": PodFolder("folder", folders.folder_hash(one), outlives=False)}
    later = copy.deepcopy(raw)
    later["metadata"]["annotations"][FOLDER] = "docs,later"
    assert read_pod(later).folders == read_pod(raw).folders, "a pod does not change by what is written at it"
    assert folders.folder_hash(one) != folders.folder_hash(other)
    older = copy.deepcopy(raw)
    del older["metadata"]["annotations"][FOLDER_HASH]
    assert read_pod(older).folders == {}


def test_the_operator_knows_the_words_of_the_daemon() -> None:
    assert {str(each) for each in State} == pods.STATES
    assert {str(each) for each in Halt} == pods.HALTS
