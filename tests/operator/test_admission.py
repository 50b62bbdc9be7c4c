"""What the webhook answers about an S3Gateway that somebody writes."""

from typing import Any

import pytest

from s3d_operator.admission import verdict_of
from s3d_operator.choice import read_gateway

REMOTE: dict[str, Any] = {"credentials": {"anonymous": {}}}


def gateway(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "default"}, "spec": {"remote": REMOTE} | spec}


def queue(**fields: Any) -> dict[str, Any]:
    return gateway(writeQueue=fields)


def message_of(given: dict[str, Any], before: dict[str, Any] | None = None, kind: str = "S3Gateway") -> str:
    """Why it is refused; "" where it is not."""
    verdict = verdict_of(kind, given, before)
    assert verdict["allowed"] is ("status" not in verdict)
    return str(verdict.get("status", {}).get("message", ""))


@pytest.mark.semantics("F-2b")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (queue(filter=["ok", "photos[tga:x]"]), "spec.writeQueue.filter: 'tga' is none of tag, hdr, md and id"),
        (queue(filter=["photos[tga:x]"]), "did you mean tag?, at character 8 of 'photos[tga:x]'"),
        (queue(pushFilter=["a/'b"]), "spec.writeQueue.pushFilter: the quotation is not closed"),
        (queue(pushFilter=["a/'b"]), "at character 5 of "),
        (gateway(podSelector={"matchLabels": {"a b": "c"}}), "spec.podSelector: no label can have the name 'a b'"),
        (gateway(remote={}), "spec.remote.credentials: Field required"),
    ],
)
def test_what_no_daemon_would_start_with_is_refused_with_field_and_position(given: dict[str, Any], said: str) -> None:
    message = message_of(given)
    assert message.startswith("s3d: spec.")
    assert said in message


def test_what_can_be_used_is_let_in() -> None:
    assert message_of(queue(filter=["photos, !photos/tmp/*"], pushFilter=[])) == ""


@pytest.mark.semantics("F-2b")
def test_what_was_wrong_before_locks_nobody_out_and_another_mistake_is_refused() -> None:
    bad = queue(filter=["a/'b"])
    labelled = bad | {"metadata": {"name": "default", "labels": {"a": "b"}}}
    assert message_of(labelled, bad) == ""
    assert "at character 4 of" in message_of(queue(filter=["a/["]), bad)
    assert message_of(queue(filter=["a"]), bad) == ""
    assert message_of(bad, queue(filter=["a"]))


def test_a_field_of_a_newer_release_is_the_schemas_to_judge_and_what_is_known_beside_it_is_judged() -> None:
    assert read_gateway(gateway(later=1)).problem, "no pod is made with it, while nobody knows what it means"
    assert message_of(gateway(later=1)) == ""
    assert "pushFilter" in message_of(gateway(later=1, writeQueue={"pushFilter": ["a["]}))


@pytest.mark.semantics("F-2b")
def test_a_sync_folder_that_no_daemon_would_start_with_is_refused_unless_it_was_so_before() -> None:
    good = {"spec": {"gatewayRef": {"name": "default"}, "bucket": "team", "mountPath": "/data"}}
    bad = {"spec": good["spec"] | {"filter": ["team[tga:x]"]}}
    assert message_of(good, kind="SyncFolder") == ""
    said = message_of(bad, kind="SyncFolder")
    assert "spec.filter: 'tga' is none of" in said
    assert "at character 6 of 'team[tga:x]'" in said
    assert message_of(bad, bad, kind="SyncFolder") == ""
    assert "spec.bucket: Field required" in message_of({"spec": {}}, kind="SyncFolder")
