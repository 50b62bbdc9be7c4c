"""Each error of a remote has one verdict, and pauses stay below their cap."""

import pytest

from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.rules import retry
from s3d.layers.queue.rules.retry import Verdict

VERDICTS = [
    (Unavailable("gone"), Verdict.TRANSIENT),
    (S3Error("SlowDown", status=503), Verdict.TRANSIENT),
    (S3Error("Whatever", status=500), Verdict.TRANSIENT),
    (S3Error("Whatever", status=429), Verdict.TRANSIENT),
    (S3Error("RequestTimeout", status=400), Verdict.TRANSIENT),
    (S3Error("OperationAborted", status=409), Verdict.TRANSIENT),
    (S3Error("AccessDenied", status=403), Verdict.LANE),
    (S3Error("Whatever", status=403), Verdict.LANE),
    (S3Error("NoSuchBucket", status=404), Verdict.LANE),
    (S3Error("PermanentRedirect", status=301), Verdict.LANE),
    (S3Error("RequestTimeTooSkewed", status=403), Verdict.LANE),
    (S3Error("QuotaExceeded", status=400), Verdict.LANE),
    (S3Error("Whatever", status=507), Verdict.LANE),
    (S3Error("EntityTooLarge", status=400), Verdict.OBJECT),
    (S3Error("KeyTooLongError", status=400), Verdict.OBJECT),
    (S3Error("NotImplemented", status=501), Verdict.OBJECT),
    (S3Error("Whatever", status=501), Verdict.OBJECT),
    (S3Error("EntityTooLarge", status=500), Verdict.TRANSIENT),
    (S3Error("InvalidTag", status=503), Verdict.TRANSIENT),
    (S3Error("BadDigest", status=400), Verdict.REHASH),
    (S3Error("InvalidArgument", status=400), Verdict.REFUSED),
]


@pytest.mark.semantics("Q-8", "Q-8g")
@pytest.mark.parametrize("error, verdict", VERDICTS, ids=str)
def test_an_error_has_one_verdict(error: S3Error, verdict: Verdict) -> None:
    assert retry.judge(error) is verdict


def test_a_code_stands_in_one_row() -> None:
    rows = [code for codes in retry.CODES.values() for code in codes.split()]
    assert len(rows) == len(set(rows))


@pytest.mark.semantics("Q-8")
def test_pauses_double_up_to_a_cap_and_are_spread_over_their_whole_width() -> None:
    bounds = [retry.pause(attempts, 1.0) for attempts in range(40)]
    assert bounds == sorted(bounds)
    assert bounds[1] == 2 * bounds[0]
    assert bounds[-1] == retry.MAX_BACKOFF
    assert retry.pause(5, 0.0) == 0
