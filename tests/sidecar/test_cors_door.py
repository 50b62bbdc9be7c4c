"""Browsers at the door (SEMANTICS A-3c, R-12): preflights, and what pages are told, of real daemons and stores."""

from typing import Any

import pytest

from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, eventually
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote

APP = "https://app.example"
OTHER = "https://other.example"
RULES: list[dict[str, Any]] = [
    {
        "AllowedOrigins": ["https://*.example"],
        "AllowedMethods": ["GET", "PUT", "POST", "HEAD"],
        "AllowedHeaders": ["x-amz-*", "content-type"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 30,
    },
    {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]},
]
TOLD = {
    "access-control-allow-origin": APP,
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "GET, PUT, POST, HEAD",
    "access-control-expose-headers": "ETag",
    "access-control-max-age": "30",
}
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
OWN_RULES = {"S3D_CORS_ORIGINS": APP, "S3D_CORS_MAX_AGE": "1m"}


def cors_of(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def set_rules(remote: Remote, bucket: str, rules: list[dict[str, Any]] | None = None) -> None:
    remote.client().put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules or RULES})


def preflight(
    daemon: Daemon, path: str, method: str, origin: str = APP, headers: str = ""
) -> tuple[int, dict[str, str], bytes]:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    asked |= {"Access-Control-Request-Headers": headers} if headers else {}
    return raw(daemon, "OPTIONS", path, None, **asked)


@pytest.mark.semantics("R-12", "R-12b")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_preflight_is_answered_by_the_rules_of_the_bucket_as_its_store_would(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    set_rules(remote, bucket)
    there = Daemon(daemon.directory, {}, port=int(remote.endpoint.rpartition(":")[2]))
    asked = [
        ("PUT", APP, "X-Amz-Date, content-type"),
        ("PUT", APP, ""),
        ("GET", "https://b.org", ""),
        ("PUT", "https://b.org", ""),
        ("PUT", APP, "x-other"),
        ("DELETE", APP, ""),
        ("FOO", APP, ""),
    ]
    for method, origin, headers in asked:
        ours = preflight(daemon, f"/{bucket}/k", method, origin, headers)
        theirs = preflight(there, f"/{bucket}/k", method, origin, headers)
        assert ours[0] == theirs[0], (method, origin, headers)
        told = cors_of(theirs[1])
        if told.get("access-control-allow-credentials") == "false":
            del told["access-control-allow-credentials"]  # which says the same as its absence
        if "ExposeHeaders" not in RULES[1] and told.get("access-control-allow-origin") == "*":
            del told["access-control-expose-headers"]  # the store exposes ETag always
        assert cors_of(ours[1]) == told, (method, origin, headers)
        assert ours[1].get("vary", "") == theirs[1].get("vary", "")
        assert ours[1]["content-length"] == "0" or ours[0] != 200
    assert raw(daemon, "OPTIONS", f"/{bucket}/k")[0] == 400
    assert raw(daemon, "OPTIONS", f"/{bucket}/k", Origin=APP)[0] == 400


@pytest.mark.semantics("R-12")
@pytest.mark.parametrize("remote", ["moto", "minio"], indirect=True)
def test_a_preflight_for_what_has_no_rules_is_refused(daemon: Daemon, bucket: str) -> None:
    for path in (f"/{bucket}/k", f"/{bucket}", "/never-was/k", "/"):
        status, headers, document = preflight(daemon, path, "PUT")
        assert (status, cors_of(headers)) == (403, {})
        assert b"<Code>AccessForbidden</Code>" in document
        assert b"CORSResponse: CORS is not enabled" in document


@pytest.mark.semantics("R-12a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_every_answer_of_the_doors_own_says_what_the_rules_say(daemon: Daemon, remote: Remote, bucket: str) -> None:
    set_rules(remote, bucket)
    daemon.warm(bucket)
    hold = {"x-amz-tagging": "s3d.upload=false"}
    answers = {
        "a queued put": raw(daemon, "PUT", f"/{bucket}/k", b"x", Origin=APP, **hold),
        "a pending read": raw(daemon, "GET", f"/{bucket}/k", Origin=APP),
        "a part of it": raw(daemon, "GET", f"/{bucket}/k", Origin=APP, Range="bytes=0-0"),
        "its head": raw(daemon, "HEAD", f"/{bucket}/k", Origin=APP),
        "a condition": raw(daemon, "GET", f"/{bucket}/k", Origin=APP, If_None_Match="*"),
        "a merged listing": raw(daemon, "GET", f"/{bucket}?list-type=2", Origin=APP),
        "what waits for a person": raw(daemon, "GET", f"/{bucket}/k?acl", Origin=APP),
        "no such digest": raw(daemon, "PUT", f"/{bucket}/j", b"x", Origin=APP, Content_MD5="Zm9v"),
        "no such operation": raw(daemon, "GET", f"/{bucket}?session", Origin=APP),
    }
    statuses = {what: answer[0] for what, answer in answers.items()}
    assert statuses == {
        "a queued put": 200,
        "a pending read": 200,
        "a part of it": 206,
        "its head": 200,
        "a condition": 304,
        "a merged listing": 200,
        "what waits for a person": 503,
        "no such digest": 400,
        "no such operation": 501,
    }
    for what, (_, headers, _) in answers.items():
        assert cors_of(headers) == TOLD, what
        assert VARY in headers["vary"], what
    assert answers["a queued put"][1]["x-s3d-durability"] == "local"


@pytest.mark.semantics("R-12a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_what_the_remote_answers_says_what_the_remote_says(daemon: Daemon, remote: Remote, bucket: str) -> None:
    set_rules(remote, bucket)
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    _, headers, _ = raw(daemon, "GET", f"/{bucket}/k", Origin=APP)
    # As this store does it for every rule.
    assert headers["access-control-expose-headers"] == "ETag, x-amz-storage-class"
    assert headers["access-control-allow-origin"] == APP


@pytest.mark.semantics("R-12b")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_rules_that_are_changed_here_hold_at_once(daemon: Daemon, bucket: str) -> None:
    s3 = daemon.client()
    assert preflight(daemon, f"/{bucket}/k", "PUT")[0] == 403
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    assert cors_of(preflight(daemon, f"/{bucket}/k", "PUT")[1]) == TOLD
    s3.delete_bucket_cors(Bucket=bucket)
    assert preflight(daemon, f"/{bucket}/k", "PUT")[0] == 403


@pytest.fixture
def left(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> tuple[Daemon, Relayed]:
    """A daemon that has seen the rules of its bucket, was started anew, and finds no remote."""
    set_rules(remote, bucket)
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY)
    daemon.warm(bucket)
    assert preflight(daemon, f"/{bucket}/k", "PUT")[0] == 200
    daemon.terminate()
    relayed.set(mode="refuse")
    daemon.start()
    return daemon, relayed


@pytest.mark.semantics("R-12a", "R-12b")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_rules_that_were_seen_hold_while_the_remote_is_away_after_a_restart_too(
    left: tuple[Daemon, Relayed], bucket: str
) -> None:
    daemon, _ = left
    assert cors_of(preflight(daemon, f"/{bucket}/k", "PUT")[1]) == TOLD
    assert preflight(daemon, "/never-was/k", "PUT")[0] == 403
    for method, body, status in (("PUT", b"x", 200), ("GET", None, 200), ("HEAD", None, 200)):
        got, headers, _ = raw(daemon, method, f"/{bucket}/k", body, Origin=APP)
        assert (got, cors_of(headers)) == (status, TOLD)
    got, headers, _ = raw(daemon, "GET", f"/{bucket}/elsewhere", Origin=APP)
    assert (got, cors_of(headers)) == (503, TOLD)


@pytest.mark.semantics("R-12b")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_change_of_rules_that_the_remote_never_got_changes_nothing(left: tuple[Daemon, Relayed], bucket: str) -> None:
    daemon, relayed = left
    s3 = daemon.client()
    assert code_of(s3.delete_bucket_cors, Bucket=bucket) == "ServiceUnavailable"
    assert preflight(daemon, f"/{bucket}/k", "PUT")[0] == 200
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.delete_bucket_cors, Bucket=bucket) == "")
    assert preflight(daemon, f"/{bucket}/k", "PUT")[0] == 403


@pytest.mark.semantics("R-12c")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
@pytest.mark.parametrize("daemon", [OWN_RULES], indirect=True)
def test_rules_of_the_settings_hold_for_every_bucket_and_every_answer(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    if remote.name == "versitygw":
        set_rules(remote, bucket)
    remote.client().put_object(Bucket=bucket, Key="there", Body=b"x")
    told = {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, HEAD, PUT, POST, DELETE",
        "access-control-expose-headers": "ETag, Content-Range, Retry-After, x-amz-request-id, x-amz-version-id, "
        "x-s3d-durability",
        "access-control-max-age": "60",
    }
    for path, method in ((f"/{bucket}/k", "DELETE"), (f"/{bucket}", "GET"), ("/", "GET"), ("/never-was/k", "PUT")):
        status, headers, _ = preflight(daemon, path, method, headers="x-any")
        assert (status, headers.pop("access-control-allow-headers")) == (200, "x-any")
        assert cors_of(headers) == told
        assert preflight(daemon, path, method, OTHER)[0] == 403
    for path, status in ((f"/{bucket}/there", 200), ("/", 200), (f"/{bucket}/k", 404), ("/never-was", 404)):
        got, headers, _ = raw(daemon, "GET", path, Origin=APP)
        assert (got, cors_of(headers)) == (status, told)


@pytest.mark.semantics("A-3c")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_page_of_another_origin_is_let_in_by_a_rule_that_names_it(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    set_rules(remote, bucket)
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert raw(daemon, "PUT", f"/{bucket}/k", b"x", Origin=APP, **cross)[0] == 200
    for method, path, origin in (
        ("DELETE", f"/{bucket}/k", APP),
        ("PUT", f"/{bucket}/k", "https://b.org"),
        ("PUT", "/never-was/k", APP),
        ("GET", "/", APP),
    ):
        assert raw(daemon, method, path, b"y" if method == "PUT" else None, Origin=origin, **cross)[0] == 403
    # The rule for all says that a signature decides, and none is asked for. The page may read why.
    status, headers, document = raw(daemon, "GET", f"/{bucket}/k", None, Origin="https://b.org", **cross)
    assert (status, cors_of(headers)["access-control-allow-origin"]) == (403, "*")
    assert b"S3D_CORS_ORIGINS" in document
    assert raw(daemon, "GET", f"/{bucket}/k")[2] == b"x"


@pytest.mark.semantics("A-3c")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("daemon", [{"S3D_CORS_ORIGINS": "*", "S3D_CORS_METHODS": "GET"}], indirect=True)
def test_the_settings_may_let_in_every_page(daemon: Daemon, bucket: str) -> None:
    for headers in (
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": OTHER, "Sec-Fetch-Site": "same-site"},
    ):
        assert raw(daemon, "GET", f"/{bucket}?list-type=2", None, **headers)[0] == 200
        assert raw(daemon, "PUT", f"/{bucket}/k", b"x", **headers)[0] == 403
