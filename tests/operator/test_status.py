from datetime import UTC, datetime
from typing import Any

from s3d_operator.status import status_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def body(generation: int, endpoint: str, status: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"remote": {"endpoint": endpoint, "credentials": {"anonymous": {}}}}
    return {"metadata": {"generation": generation}, "spec": spec, "status": status or {}}


def test_a_spec_that_can_be_used_is_accepted() -> None:
    assert status_of(body(3, "http://minio:9000"), NOW) == {
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-01-01T12:00:00Z",
                "reason": "Accepted",
                "message": "pods that opt in get this gateway",
            }
        ],
    }


def test_a_spec_that_the_schema_lets_through_and_the_daemon_does_not_is_invalid() -> None:
    for endpoint in ("http://minio:99999", "http://127.0.0.1:33333"):
        (condition,) = status_of(body(1, endpoint), NOW)["conditions"]
        assert (condition["status"], condition["reason"]) == ("False", "InvalidSpec")
        assert "S3_ENDPOINT" in condition["message"]


def test_a_spec_of_another_version_is_invalid_and_says_what_to_do() -> None:
    (condition,) = status_of({"metadata": {}, "spec": {"remote": {}}}, NOW)["conditions"]
    assert condition["reason"] == "InvalidSpec"
    assert "upgrade both" in condition["message"]


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = status_of(body(1, "http://minio:9000"), NOW)
    same = status_of(body(2, "http://other:9000", first), LATER)
    changed = status_of(body(3, "http://minio:99999", same), LATER)
    assert same["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    assert same["conditions"][0]["observedGeneration"] == 2
    assert changed["conditions"][0]["lastTransitionTime"] == "2026-01-02T12:00:00Z"


def test_conditions_of_others_stay() -> None:
    theirs = {"type": "Theirs", "status": "Unknown"}
    assert status_of(body(1, "http://minio:9000", {"conditions": [theirs]}), NOW)["conditions"][0] == theirs
