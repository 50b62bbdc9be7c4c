"""What the API server makes of SyncFolders, by defaults and by rules that a spec breaks, and of pods that have some."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from e2e.apiserver.conftest import Kubectl, Resources, resources
from e2e.apiserver.test_crd_schema import dumped, everything, paths, rules
from s3d_operator import schema
from s3d_operator.crd import sync_folder
from s3d_operator.folder_status import SyncFolderStatus
from s3d_operator.kube import FOLDERS as RESOURCE
from s3d_operator.kube import ApiError, Kube
from s3d_operator.spec import SyncFolderSpec
from tests.operator.goldens import FOLDERS as GOLDEN
from tests.operator.goldens import read
from tests.operator.requests import request
from tests.operator.test_folder_conditions import HALTED, SEEN, judged

FOLDERS = "/apis/s3d.dev/v1alpha1/namespaces/default/syncfolders"
LEAST: dict[str, Any] = {"gatewayRef": {"name": "default"}, "bucket": "team", "mountPath": "/srv/docs"}
FULL: dict[str, Any] = LEAST | {
    "prefix": "docs/2026/",
    "direction": "Pull",
    "filter": ["team", "!team/drafts/*"],
    "maxSize": "1Gi",
    "maxFiles": 9,
    "maxAgeSeconds": 86400,
    "deletes": "Trash",
    "pollSeconds": 30,
    "stableSeconds": 2,
    "maxDeletePercent": 20,
    "maxDeleteFiles": 7,
    "trashSeconds": 3600,
    "waitForInitialSync": True,
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mountPath": "/srv/../docs"}, "mountPath: . and .. are no names of directories"),
    ({"mountPath": "/srv/."}, "mountPath: . and .. are no names of directories"),
]
IN_WORDS: list[tuple[dict[str, Any], str]] = [
    ({"bucket": "a/b"}, schema.BUCKET_PATTERN),
    ({"prefix": "docs"}, schema.PREFIX_PATTERN),
    ({"prefix": "/docs/"}, schema.PREFIX_PATTERN),
    ({"prefix": "docs//a/"}, schema.PREFIX_PATTERN),
    ({"mountPath": "docs"}, schema.PLACE_PATTERN),
    ({"mountPath": "/"}, schema.PLACE_PATTERN),
    ({"mountPath": "/docs/"}, schema.PLACE_PATTERN),
    ({"maxSize": "lots"}, schema.SIZE_PATTERN),
    ({"gatewayRef": {"name": "Default"}}, schema.DNS_NAME),
]
CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"gatewayRef": {"name": "other"}}, "gatewayRef is immutable"),
    ({"bucket": "others"}, "bucket is immutable"),
    ({"prefix": "other/"}, "prefix is immutable"),
    ({"prefix": None}, "prefix is immutable"),
]
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"direction": "Both"}, "spec.direction"),
    ({"deletes": "Never"}, "spec.deletes"),
    ({"maxAgeSeconds": -1}, "spec.maxAgeSeconds"),
    ({"maxDeletePercent": 101}, "spec.maxDeletePercent"),
    ({"pollSeconds": 0}, "spec.pollSeconds"),
    ({"bucket": None}, "spec.bucket: Required value"),
    ({"podSelector": {}}, 'unknown field "spec.podSelector"'),
]


@pytest.fixture
async def sync_folders(kube: Kube) -> AsyncIterator[Resources]:
    """The SyncFolders."""
    async with resources(kube, "SyncFolder", FOLDERS) as found:
        yield found


async def refusal(sync_folders: Resources, spec: dict[str, Any]) -> str:
    """Why the API server refuses one that lacks what is None."""
    said = {name: value for name, value in (LEAST | spec).items() if value is not None}
    return await sync_folders.refusal("refused", said)


@pytest.mark.parametrize(("spec", "message"), REFUSED + MALFORMED, ids=str)
async def test_a_spec_that_cannot_be_meant_is_refused_with_its_message(
    sync_folders: Resources, spec: dict[str, Any], message: str
) -> None:
    assert message in await refusal(sync_folders, spec)


@pytest.mark.parametrize(("spec", "pattern"), IN_WORDS, ids=str)
async def test_a_value_that_cannot_be_meant_is_refused_in_words_and_once(
    sync_folders: Resources, spec: dict[str, Any], pattern: str
) -> None:
    said = await refusal(sync_folders, spec)
    assert said.count(schema.MESSAGES[pattern]) == 1
    assert pattern not in said


@pytest.mark.parametrize(("change", "message"), CHANGED, ids=str)
async def test_what_a_folder_is_equal_with_stays(
    kube: Kube, sync_folders: Resources, change: dict[str, Any], message: str
) -> None:
    await sync_folders.create("kept", FULL)
    with pytest.raises(ApiError, match=message):
        await request(kube, "PATCH", f"{FOLDERS}/kept", {"spec": change})
    await request(kube, "PATCH", f"{FOLDERS}/kept", {"spec": {"mountPath": "/data", "direction": "Push"}})


def test_each_rule_has_a_spec_that_breaks_it() -> None:
    broken = [message for _, message in REFUSED + CHANGED] + [schema.MESSAGES[pattern] for _, pattern in IN_WORDS]
    for rule in rules(sync_folder()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
        assert any(rule.startswith(message) for message in broken), rule


async def test_the_api_server_completes_what_is_not_said_as_the_model_does(sync_folders: Resources) -> None:
    made = await sync_folders.create("least", LEAST, dry=True)
    assert made["spec"] == dumped(SyncFolderSpec.model_validate(LEAST))


async def test_all_that_can_be_said_is_kept_and_read(sync_folders: Resources) -> None:
    made = await sync_folders.create("full", FULL, dry=True)
    assert made["spec"] == FULL == dumped(SyncFolderSpec.model_validate(FULL))
    assert everything(SyncFolderSpec) == set(paths(FULL))


@pytest.mark.semantics("S-10", "S-11a")
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
async def test_a_pod_with_folders_is_taken_as_the_webhook_makes_it(
    kube: Kube, sync_folders: Resources, path: Path
) -> None:
    given, specs, operations = read(path)
    for name, spec in specs["folders"].items():
        await sync_folders.create(name, spec, dry=True)
    pod = jsonpatch.apply_patch(given, operations)
    await request(kube, "POST", "/api/v1/namespaces/default/pods?fieldValidation=Strict&dryRun=All", pod)


async def test_a_row_reads_well_without_the_documentation(
    kube: Kube, sync_folders: Resources, kubectl: Kubectl
) -> None:
    for name, pods in (("docs", [SEEN, SEEN]), ("mail", [SEEN, HALTED])):
        made = await sync_folders.create(name, LEAST)
        known = {key: made["metadata"][key] for key in ("name", "namespace", "uid")}
        status = judged(*pods)
        SyncFolderStatus.model_validate(status)
        await kube.apply(RESOURCE, {"metadata": known, "status": status}, "s3d-operator", part="status")
    head, *lines = (line.split() for line in kubectl("get", "syncf").splitlines())
    assert head == ["NAME", "SYNCED", "REASON", "PODS", "FILES", "UNSENT", "CONFLICTS", "EQUAL", "SEEN", "AGE"]
    assert [line[:7] for line in lines] == [
        ["docs", "True", "Ready", "2", "7", "0", "2"],
        ["mail", "False", "FolderEmpty", "2", "7", "1", "2"],
    ]
