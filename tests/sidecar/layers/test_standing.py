"""What the remote thinks of us: when an error is about us, and when about what was asked."""

import pytest

from s3d.layers.standing import FRESH, Standing


@pytest.mark.semantics("R-11")
def test_a_single_odd_signature_is_not_held_against_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("s3d.layers.standing.time.monotonic", lambda: now)
    standing = Standing("")
    standing.passed()
    standing.refused("SignatureDoesNotMatch", looked=False)
    assert standing.refusal == ""
    standing.refused("InvalidAccessKeyId", looked=True)
    assert standing.refusal == "InvalidAccessKeyId"
    standing.passed()
    now += FRESH
    standing.refused("SignatureDoesNotMatch", looked=False)
    assert (standing.refusal, standing.keys_are_refused) == ("SignatureDoesNotMatch", True)
    standing.refused("AccessDenied", looked=False)
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
    standing.refused(code, looked=looked)
    assert standing.refusal == refusal
    standing.passed()
    standing.refused(code, looked=looked)
    assert standing.refusal == ""
