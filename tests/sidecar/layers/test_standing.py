"""What the remote thinks of us: when an error is about us, and when about what was asked."""

import pytest

from s3d.layers.standing import FRESH_SECONDS, Standing


@pytest.mark.semantics("R-11")
def test_a_single_odd_signature_is_not_held_against_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("s3d.layers.standing.time.monotonic", lambda: now)
    standing = Standing("")
    standing.passed()
    standing.refused("SignatureDoesNotMatch", has_key=True, looked=False)
    assert standing.refusal == ""
    standing.refused("InvalidAccessKeyId", has_key=True, looked=True)
    assert standing.refusal == "InvalidAccessKeyId"
    standing.passed()
    now += FRESH_SECONDS
    standing.refused("SignatureDoesNotMatch", has_key=True, looked=False)
    assert (standing.refusal, standing.keys_are_refused) == ("SignatureDoesNotMatch", True)
    standing.refused("AccessDenied", has_key=True, looked=False)
    assert standing.refusal == "", "who denies something has taken the signature"


@pytest.mark.semantics("R-11")
@pytest.mark.parametrize(
    "path, code, looked, refusal",
    [
        ("", "AccessDenied", False, "AccessDenied"),
        ("", "AccessDenied", True, ""),
        ("", "NoSuchBucket", False, ""),
        ("/x", "NoSuchBucket", True, "NoSuchBucket"),
    ],
)
def test_what_may_be_about_the_request_counts_where_nothing_ever_passed(
    path: str, code: str, looked: bool, refusal: str
) -> None:
    standing = Standing(path)
    standing.refused(code, has_key=True, looked=looked)
    assert standing.refusal == refusal
    standing.passed()
    standing.refused(code, has_key=True, looked=looked)
    assert standing.refusal == ""


@pytest.mark.semantics("R-11")
def test_an_answer_to_a_head_does_not_say_that_the_keys_are_right() -> None:
    standing = Standing("")
    standing.refused("InvalidAccessKeyId", has_key=True, looked=True)
    standing.refused("Forbidden", has_key=True, looked=True)
    assert standing.refusal == "InvalidAccessKeyId"


@pytest.mark.semantics("R-11a")
@pytest.mark.parametrize(
    "path, code, has_key, refusal",
    [
        ("/x", "NoSuchKey", False, "NoSuchBucket"),
        ("/x", "NoSuchKey", True, ""),
        ("", "NoSuchKey", False, ""),
        ("/x", "NoSuchBucket", True, ""),
    ],
)
def test_a_bucket_that_is_taken_for_a_key_shows_that_the_path_is_wrong_whatever_passed(
    path: str, code: str, has_key: bool, refusal: str
) -> None:
    standing = Standing(path)
    standing.passed()
    standing.refused(code, has_key=has_key, looked=False)
    assert (standing.refusal, standing.endpoint_is_wrong) == (refusal, bool(refusal))


@pytest.mark.semantics("R-11b")
def test_what_is_no_store_counts_until_one_has_answered() -> None:
    standing = Standing("")
    standing.not_s3()
    assert (standing.refusal, standing.endpoint_is_wrong, standing.keys_are_refused) == ("NotS3", True, False)
    standing.answered()
    assert standing.refusal == ""
    standing.not_s3()
    assert standing.refusal == "", "that is somebody before the store"
