from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s3d.problems import (
    AT_RISK_SECONDS,
    CHANGES_DAMAGED,
    FILES_UNPUBLISHED,
    KEYS_MISSING,
    KEYS_REFUSED,
    MOUNT_GONE,
    REMOTE_AWAY,
    REMOTE_REFUSES,
    WRONG_ENDPOINT,
)
from s3d_operator.gateway_facts import GatewayFacts, Seen
from s3d_operator.gateway_status import ClaimStatus, LastPod
from s3d_operator.pods import MAX_COUNT, MAX_SECONDS, FolderReport, Report
from s3d_operator.status import status_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
QUIET = Report(changes=0, bytes=0, parked=0, oldest=None, remote="reachable", credentials="found")
BUSY = Report(changes=3, bytes=300, parked=0, oldest=7, remote="reachable", credentials="found")
AWAY = replace(BUSY, remote="away", problems=frozenset([REMOTE_AWAY]))
ALONE = GatewayFacts()


def body(generation: int, endpoint: str, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    given = {"remote": {"endpoint": endpoint, "credentials": {"secretRef": {"name": "s3-keys"}}}}
    return {"metadata": {"generation": generation}, "spec": given | spec, "status": status or {}}


GIVEN = body(1, "http://minio:9000")


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    (found,) = (each for each in status["conditions"] if each["type"] == kind)
    return found["status"], found["reason"]


def message(status: dict[str, Any], kind: str) -> str:
    return str(next(each["message"] for each in status["conditions"] if each["type"] == kind))


@pytest.mark.checklist(46)
def test_a_status_has_every_condition_whole_and_no_phase() -> None:
    status = status_of(body(3, "http://minio:9000"), ALONE, NOW)
    assert status["observedGeneration"] == 3
    assert "phase" not in status
    assert [each["type"] for each in status["conditions"]] == [
        "Accepted",
        "Conflicted",
        "CredentialsResolved",
        "DataAtRisk",
        "Ready",
        "RemoteReachable",
        "SettingsAccepted",
    ]
    for each in status["conditions"]:
        assert each.keys() == {"type", "status", "observedGeneration", "lastTransitionTime", "reason", "message"}
        assert (each["observedGeneration"], each["lastTransitionTime"]) == (3, "2026-01-01T12:00:00Z")
        assert each["reason"].isalpha()
        assert each["message"]


@pytest.mark.checklist(46)
def test_what_is_not_known_yet_is_unknown_and_what_was_pending_stays() -> None:
    before = {"pods": {"injected": 2}, "pending": {"changes": 9}}
    status = status_of(body(1, "http://minio:9000", before), None, NOW)
    unknown = {each["type"] for each in status["conditions"] if each["status"] == "Unknown"}
    assert unknown == {"Conflicted", "CredentialsResolved", "DataAtRisk", "RemoteReachable", "SettingsAccepted"}
    assert (status["pods"], status["pending"]) == (before["pods"], before["pending"])


def test_a_spec_that_the_schema_lets_through_and_the_daemon_does_not_is_invalid() -> None:
    for endpoint in ("http://minio:99999", "http://127.0.0.1:33333"):
        status = status_of(body(1, endpoint), ALONE, NOW)
        assert condition(status, "Accepted") == condition(status, "Ready") == ("False", "InvalidSpec")
        assert "spec.remote.endpoint" in message(status, "Accepted")
        assert "S3_ENDPOINT" not in message(status, "Accepted"), "nobody wrote that"


@pytest.mark.parametrize("field", ["filter", "pushFilter"])
@pytest.mark.semantics("F-1b")
def test_a_filter_that_cannot_be_read_is_invalid_and_its_position_is_told(field: str) -> None:
    status = status_of(body(1, "http://minio:9000", writeQueue={field: ["photos", "!photos[tag:"]}), ALONE, NOW)
    assert condition(status, "Accepted") == condition(status, "Ready") == ("False", "InvalidSpec")
    assert f"spec.writeQueue.{field}: " in message(status, "Accepted")
    assert "at character 13 of '!photos[tag:'" in message(status, "Accepted")


def test_settings_that_a_pod_refuses_are_a_condition() -> None:
    pods = [Seen(report=replace(BUSY, not_taken_over=("writeQueue",))), Seen(report=QUIET)]
    status = status_of(GIVEN, GatewayFacts(pods), NOW)
    assert condition(status, "SettingsAccepted") == ("False", "SettingsRefused")
    assert "1 of 2 pods" in message(status, "SettingsAccepted")
    assert condition(status_of(GIVEN, GatewayFacts(pods[1:]), NOW), "SettingsAccepted") == ("True", "SettingsUsed")
    assert condition(status_of(GIVEN, ALONE, NOW), "SettingsAccepted") == ("Unknown", "NoPods")
    assert condition(status_of(GIVEN, GatewayFacts([Seen()]), NOW), "SettingsAccepted") == ("Unknown", "NotUsedYet")


@pytest.mark.parametrize(
    "selector",
    [{"matchLabels": {"bad key!": "x"}}, {"matchExpressions": [{"key": "a/b/c", "operator": "Exists"}]}],
)
def test_a_selector_by_a_name_that_no_label_has_is_invalid_and_says_so(selector: dict[str, Any]) -> None:
    status = status_of(body(1, "http://minio:9000", podSelector=selector), ALONE, NOW)
    assert condition(status, "Accepted") == condition(status, "Ready") == ("False", "InvalidSpec")
    assert "spec.podSelector: no label can have the name" in message(status, "Accepted")
    fine = {"matchLabels": {"app": "x", "app.kubernetes.io/name": "x"}}
    assert condition(status_of(body(1, "http://s3", podSelector=fine), ALONE, NOW), "Accepted")[0] == "True"


def test_a_spec_of_another_version_is_invalid_and_says_what_to_do() -> None:
    status = status_of({"metadata": {}, "spec": {"remote": {}}}, ALONE, NOW)
    assert condition(status, "Accepted") == ("False", "InvalidSpec")
    assert "upgrade both" in message(status, "Accepted")


@pytest.mark.checklist(46)
def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = status_of(body(1, "http://minio:9000"), ALONE, NOW)
    same = status_of(body(2, "http://other:9000", first), ALONE, LATER)
    changed = status_of(body(3, "http://minio:99999", same), ALONE, LATER)
    (kept,) = (each for each in same["conditions"] if each["type"] == "Accepted")
    (new,) = (each for each in changed["conditions"] if each["type"] == "Accepted")
    assert (kept["lastTransitionTime"], kept["observedGeneration"]) == ("2026-01-01T12:00:00Z", 2)
    assert new["lastTransitionTime"] == "2026-01-02T12:00:00Z"


def test_what_is_pending_is_added_up_over_the_pods() -> None:
    parked = replace(BUSY, parked=2, oldest=40)
    pods = [Seen(report=BUSY), Seen(report=parked, is_outdated=True), Seen(report=QUIET), Seen(listens=False)]
    status = status_of(GIVEN, GatewayFacts(pods, uninjected=5), NOW)
    assert status["pending"] == {
        "changes": 6,
        "bytes": 600,
        "parked": 2,
        "oldestAgeSeconds": 40,
        "oldestSince": "2026-01-01T11:59:20Z",
    }
    assert status["pods"] == {"injected": 4, "outdated": 1, "uninjected": 5, "unreachable": 0}


def test_a_pod_that_cannot_be_reached_makes_risk_unknown_and_its_last_word_stays() -> None:
    silent = Seen(report=BUSY, answers=False)
    status = status_of(GIVEN, GatewayFacts([Seen(report=QUIET), silent]), NOW)
    assert status["pending"]["changes"] == 3
    assert status["pods"]["unreachable"] == 1
    assert condition(status, "DataAtRisk") == ("Unknown", "PodsUnreachable")


def test_where_a_pod_never_said_anything_nothing_is_said_to_be_zero() -> None:
    facts = GatewayFacts([Seen(report=None, answers=False)])
    assert "pending" not in status_of(GIVEN, facts, NOW)
    before = {"pending": {"changes": 4, "bytes": 1, "parked": 0}}
    assert status_of(body(1, "http://minio:9000", before), facts, NOW)["pending"] == before["pending"]


def test_what_is_added_up_stays_a_number_and_a_time_that_can_be_written() -> None:
    most = replace(BUSY, changes=MAX_COUNT, bytes=MAX_COUNT, parked=MAX_COUNT, oldest=MAX_SECONDS)
    pending = status_of(GIVEN, GatewayFacts([Seen(report=most)] * 2048), NOW)["pending"]
    assert pending["changes"] == pending["bytes"] == pending["parked"] == MAX_COUNT
    assert pending["oldestSince"].startswith("2016-")


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (QUIET, ("False", "AllDelivered")),
        (BUSY, ("False", "OnTheWay")),
        (replace(BUSY, oldest=AT_RISK_SECONDS - 1), ("False", "OnTheWay")),
        (replace(BUSY, oldest=AT_RISK_SECONDS), ("True", "ChangesOld")),
        (replace(BUSY, parked=1), ("True", "ChangesParked")),
        (replace(BUSY, problems=frozenset([REMOTE_REFUSES])), ("True", "RemoteRefuses")),
        (replace(BUSY, problems=frozenset([CHANGES_DAMAGED])), ("True", "ChangesDamaged")),
    ],
)
@pytest.mark.checklist(52)
def test_data_is_at_risk_where_it_waits_too_long_or_for_a_person(report: Report, expected: tuple[str, str]) -> None:
    assert condition(status_of(GIVEN, GatewayFacts([Seen(report=report)]), NOW), "DataAtRisk") == expected


def test_what_is_known_to_be_at_risk_is_so_also_where_other_pods_are_silent() -> None:
    facts = GatewayFacts([Seen(report=replace(BUSY, parked=1)), Seen(report=None, answers=False)])
    before = {"pending": {"changes": 3, "bytes": 300, "parked": 1}}
    assert condition(status_of(body(1, "http://minio:9000", before), facts, NOW), "DataAtRisk")[0] == "True"


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], ("Unknown", "NoPods")),
        ([replace(QUIET, credentials="unknown")], ("Unknown", "NotUsedYet")),
        ([QUIET], ("True", "Found")),
        ([QUIET, replace(QUIET, credentials="missing", problems=frozenset([KEYS_MISSING]))], ("False", "NotFound")),
    ],
)
def test_whether_there_are_keys_is_what_the_pods_say(reports: list[Report], expected: tuple[str, str]) -> None:
    status = status_of(GIVEN, GatewayFacts([Seen(report=report) for report in reports]), NOW)
    assert condition(status, "CredentialsResolved") == expected
    if expected[0] == "False":
        assert "Secret 's3-keys' needs the keys accessKeyID and secretAccessKey" in message(status, "Ready")
        assert condition(status, "Ready") == ("False", "NotFound")


def test_keys_that_the_remote_refuses_are_a_condition() -> None:
    facts = GatewayFacts(
        [Seen(report=QUIET), Seen(report=replace(QUIET, credentials="refused", problems=frozenset([KEYS_REFUSED])))]
    )
    status = status_of(GIVEN, facts, NOW)
    assert condition(status, "CredentialsResolved") == ("False", "Refused")
    assert condition(status, "Ready") == ("False", "Refused")
    assert "refuses the keys of 1 of 2 pods" in message(status, "Ready")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://minio:9000/photos/", "take the path /photos away from remote.endpoint"),
        ("http://minio:9001", "check its scheme, host and port"),
    ],
)
def test_an_endpoint_without_the_store_is_a_condition_that_says_what_to_do(endpoint: str, words: str) -> None:
    lost = replace(QUIET, remote="away", problems=frozenset([WRONG_ENDPOINT, REMOTE_AWAY]))
    status = status_of(body(1, endpoint), GatewayFacts([Seen(report=QUIET), Seen(report=lost)]), NOW)
    assert condition(status, "RemoteReachable") == condition(status, "Ready") == ("False", "WrongEndpoint")
    assert condition(status, "CredentialsResolved") == ("True", "Found")
    assert f"1 of 2 pods find no S3 store with their buckets at {endpoint}" in message(status, "Ready")
    assert words in message(status, "Ready")


def test_keys_that_are_refused_below_a_path_may_be_a_matter_of_the_path() -> None:
    facts = GatewayFacts([Seen(report=replace(QUIET, credentials="refused", problems=frozenset([KEYS_REFUSED])))])
    assert "whether the path /photos belongs" in message(status_of(body(1, "http://s3/photos"), facts, NOW), "Ready")
    assert "path" not in message(status_of(body(1, "http://s3"), facts, NOW), "Ready")


def test_a_pod_that_does_not_start_leaves_the_keys_unknown_and_says_where_to_look() -> None:
    status = status_of(GIVEN, GatewayFacts([Seen(listens=False)]), NOW)
    assert condition(status, "CredentialsResolved") == ("Unknown", "PodsNotStarted")
    assert "kubectl describe pod" in message(status, "CredentialsResolved")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("CrashLoopBackOff", "kubectl logs POD -c s3d --previous"),
        ("CrashLoopBackOff", "securityContext.fsGroup"),
        ("CreateContainerConfigError", "a key in the Secret"),
        ("Unschedulable", "kubectl describe pod"),
    ],
)
def test_a_gateway_whose_pods_do_not_start_is_not_ready_and_says_what_they_wait_for(reason: str, words: str) -> None:
    waiting = Seen(listens=False, waits_for=reason)
    status = status_of(GIVEN, GatewayFacts([waiting, waiting]), NOW)
    assert condition(status, "Ready") == ("Unknown", "PodsNotStarted")
    assert f"the gateway of 2 pods has not started ({reason})" in message(status, "Ready")
    assert words in message(status, "CredentialsResolved")
    some = status_of(GIVEN, GatewayFacts([waiting, Seen(report=QUIET)]), NOW)
    assert condition(some, "Ready") == ("True", "PodsNotStarted"), "others write through it"


def test_what_a_pod_that_does_not_run_may_hold_is_unknown_and_what_is_known_of_it_counts() -> None:
    fresh, ran = Seen(listens=False), Seen(listens=False, may_hold=True, waits_for="CrashLoopBackOff")
    assert condition(status_of(GIVEN, GatewayFacts([fresh]), NOW), "DataAtRisk") == ("False", "AllDelivered")
    assert condition(status_of(GIVEN, GatewayFacts([ran]), NOW), "DataAtRisk") == ("Unknown", "PodsNotStarted")
    told = replace(ran, report=BUSY, answers=False)
    status = status_of(GIVEN, GatewayFacts([told, Seen(report=QUIET)]), NOW)
    assert condition(status, "DataAtRisk") == ("Unknown", "PodsNotStarted")
    assert status["pending"]["changes"] == 3


def test_what_waits_in_a_claim_whose_pod_does_not_start_is_at_risk_and_says_so() -> None:
    waiting = Seen(listens=False, may_hold=False, waits_for="Unschedulable")
    status = status_of(GIVEN, GatewayFacts([waiting], claims=[LEFT.model_copy(update={"in_use": True})]), NOW)
    assert condition(status, "DataAtRisk") == ("True", "ChangesLeft")
    assert condition(status, "Ready") == ("Unknown", "ChangesLeft")
    assert "whose pod has not started: queue" in message(status, "DataAtRisk")


def test_a_status_says_when_it_was_found_to_be_so_to_a_minute() -> None:
    facts = GatewayFacts([Seen(report=QUIET)])
    first = status_of(GIVEN, facts, NOW)
    assert first["observedAt"] == "2026-01-01T12:00:00Z"
    body_then = body(1, "http://minio:9000", first)
    assert status_of(body_then, facts, NOW + timedelta(seconds=59)) == first
    theirs = first | {"conditions": [{"type": "Theirs", "status": "True"}, *first["conditions"]], "theirs": 1}
    beside = status_of(body(1, "http://minio:9000", theirs), facts, NOW + timedelta(seconds=59))
    assert beside["observedAt"] == first["observedAt"], "what others write is theirs"
    renewed = status_of(body_then, facts, NOW + timedelta(seconds=60))
    assert renewed == first | {"observedAt": "2026-01-01T12:01:00Z"}
    changed = status_of(body_then, GatewayFacts(), NOW + timedelta(seconds=1))
    assert changed["observedAt"] == "2026-01-01T12:00:01Z"


def test_without_signatures_no_keys_are_needed() -> None:
    anonymous = body(1, "http://minio:9000", remote={"credentials": {"anonymous": {}}})
    assert condition(status_of(anonymous, ALONE, NOW), "CredentialsResolved") == ("True", "NotRequired")


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], ("Unknown", "NoPods")),
        ([replace(QUIET, remote="unknown")], ("Unknown", "NotTriedYet")),
        ([QUIET, replace(QUIET, remote="unknown")], ("True", "Reachable")),
        ([QUIET, AWAY], ("False", "RemoteAway")),
    ],
)
def test_whether_the_remote_is_there_is_what_the_pods_say(reports: list[Report], expected: tuple[str, str]) -> None:
    status = status_of(GIVEN, GatewayFacts([Seen(report=report) for report in reports]), NOW)
    assert condition(status, "RemoteReachable") == expected
    if expected[0] == "False":
        assert condition(status, "Ready") == ("True", "RemoteAway"), "pods write on while the remote is away"


@pytest.mark.checklist(35)
def test_the_younger_of_two_that_select_the_same_pods_is_told_and_the_older_too() -> None:
    loser = status_of(GIVEN, GatewayFacts(older="first"), NOW)
    winner = status_of(GIVEN, GatewayFacts(younger=["second"]), NOW)
    assert condition(loser, "Conflicted") == ("True", "OlderGatewayWins")
    assert condition(loser, "Ready") == ("True", "OlderGatewayWins")
    assert "'first' is older" in message(loser, "Conflicted")
    assert "s3d.dev/gateway" in message(loser, "Conflicted")
    assert condition(winner, "Conflicted") == ("False", "OldestGateway")
    assert condition(status_of(GIVEN, ALONE, NOW), "Conflicted") == ("False", "NoConflict")


LAST = LastPod(uid="gone")
LEFT = ClaimStatus(claim_name="queue", changes=4, bytes=40, parked=0, last_pod=LAST)
UNKNOWN = ClaimStatus(claim_name="other", last_pod=LAST)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (LEFT, ("True", "ChangesLeft")),
        (LEFT.model_copy(update={"parked": 1}), ("True", "ChangesParked")),
        (LEFT.model_copy(update={"in_use": True}), ("True", "ChangesLeft")),
        (UNKNOWN, ("Unknown", "ClaimsUnknown")),
        (UNKNOWN.model_copy(update={"in_use": True}), ("False", "AllDelivered")),
    ],
)
@pytest.mark.checklist(52)
def test_what_is_left_in_a_claim_that_no_pod_has_is_at_risk_and_what_nobody_knows_is_unknown(
    claim: ClaimStatus, expected: tuple[str, str]
) -> None:
    status = status_of(GIVEN, GatewayFacts([Seen(report=QUIET)], claims=[claim]), NOW)
    assert condition(status, "DataAtRisk") == expected
    assert status["claims"][0]["claimName"] == claim.claim_name
    assert status["pending"]["changes"] == (claim.changes or 0)


def test_what_is_left_in_claims_is_kept_until_the_pods_are_known() -> None:
    known = status_of(GIVEN, GatewayFacts(claims=[LEFT]), NOW)
    assert status_of(body(1, "http://minio:9000", known), None, NOW)["claims"] == known["claims"]


def test_an_identity_without_keys_is_told_and_the_others_can_use_the_gateway() -> None:
    fails = replace(QUIET, without_keys=("etl", "report"))
    status = status_of(GIVEN, GatewayFacts([Seen(report=QUIET), Seen(report=fails)]), NOW)
    assert condition(status, "CredentialsResolved") == ("False", "IdentityWithoutKeys")
    assert condition(status, "Ready") == ("True", "IdentityWithoutKeys")
    assert "etl, report" in message(status, "CredentialsResolved")
    own = replace(fails, credentials="refused", problems=frozenset([KEYS_REFUSED]))
    assert condition(status_of(GIVEN, GatewayFacts([Seen(report=own)]), NOW), "Ready") == ("False", "Refused")


def test_a_secret_that_is_wrong_is_told_while_pods_go_on_with_what_they_had() -> None:
    old = replace(QUIET, not_taken_over=("access.keysSecretRef", "tls"))
    status = status_of(GIVEN, GatewayFacts([Seen(report=QUIET), Seen(report=old)]), NOW)
    assert condition(status, "Ready") == ("True", "NotTakenOver")
    assert "spec.access.keysSecretRef and spec.tls" in message(status, "Ready")
    at_risk = replace(old, oldest=AT_RISK_SECONDS, changes=1)
    assert condition(status_of(GIVEN, GatewayFacts([Seen(report=at_risk)]), NOW), "Ready") == ("True", "ChangesOld")


@pytest.mark.semantics("S-10c")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ({"state": "halted", "halt": "FolderEmpty"}, ("True", "FilesUnsent")),
        ({"state": "waiting"}, ("True", "FilesUnsent")),
        ({"state": "waiting", "since": int(NOW.timestamp()) - AT_RISK_SECONDS + 1}, ("False", "AllDelivered")),
        ({"state": "working"}, ("False", "AllDelivered")),
        ({"state": "halted", "halt": "FolderEmpty", "unsent": 0}, ("False", "AllDelivered")),
    ],
)
def test_what_a_sync_folder_cannot_send_is_at_risk_after_five_minutes(
    folder: dict[str, Any], expected: tuple[str, str]
) -> None:
    since = int(NOW.timestamp()) - AT_RISK_SECONDS
    said: dict[str, Any] = {
        "halt": "",
        "since": since,
        "files": 3,
        "unsent": 2,
        "conflicts": 0,
        "left_alone": 0,
    } | folder
    calm = said | {"state": "quiet", "halt": "", "unsent": 0}
    report = replace(QUIET, folders={"calm": FolderReport(**calm), "docs": FolderReport(**said)})
    assert condition(status_of(GIVEN, GatewayFacts(pods=[Seen(report=report)]), NOW), "DataAtRisk") == expected


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], ("Unknown", "NoPods")),
        ([Seen(listens=False)], ("Unknown", "PodsNotStarted")),
        ([Seen(report=QUIET)], ("Unknown", "NotUsedYet")),
        ([Seen(report=replace(QUIET, mounts=True))], ("True", "Mounted")),
        (
            [
                Seen(report=replace(QUIET, mounts=True)),
                Seen(report=replace(QUIET, problems=frozenset([MOUNT_GONE]))),
            ],
            ("False", "MountGone"),
        ),
    ],
)
def test_whether_the_buckets_are_mounted_is_what_the_pods_say(pods: list[Seen], expected: tuple[str, str]) -> None:
    given = body(1, "http://minio:9000", fuseMount={"enabled": True})
    assert condition(status_of(given, GatewayFacts(pods=pods), NOW), "Mounted") == expected
    assert condition(status_of(given, None, NOW), "Mounted") == ("Unknown", "NotLookedYet")
    types = {each["type"] for each in status_of(GIVEN, GatewayFacts(pods=pods), NOW)["conditions"]}
    assert "Mounted" not in types, "nobody asked for a mount"


def test_files_of_a_mount_that_are_no_objects_are_at_risk() -> None:
    said = replace(QUIET, mounts=True, problems=frozenset([FILES_UNPUBLISHED]))
    given = body(1, "http://minio:9000", fuseMount={"enabled": True})
    status = status_of(given, GatewayFacts(pods=[Seen(report=said)]), NOW)
    assert condition(status, "DataAtRisk") == condition(status, "Ready") == ("True", "FilesUnpublished")
