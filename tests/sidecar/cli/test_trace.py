"""The story of a pending change, for a person."""

import pytest

from s3d.cli import trace


def test_the_story_of_a_change_reads_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    change = {
        "seq": 7,
        "bucket": "b",
        "key": "k\x1b",
        "op": "put",
        "size": 5,
        "acked_at": 0.25,
        "age_seconds": 999.75,
        "identity": "ada",
        "origin": "",
        "requests": ["00-" + "a" * 32 + "-" + "b" * 16 + "-01", "damaged"],
        "attempts": 2,
        "code": "SlowDown",
        "reason": "later",
        "next_at": 1003.0,
        "state": "waiting",
        "rule": "",
        "followers": 1,
    }
    assert [*trace.told(change)] == [
        ("put", "b/k\\x1b, 5 B"),
        ("accepted", "1970-01-01T00:00:00.250+00:00, 17 min ago for ada"),
        ("request", f"trace {'a' * 32}, span {'b' * 16}"),
        ("request", "trace , span "),
        ("tried", "2 times: SlowDown: later"),
        ("waiting", "it waits for its turn or for the remote, again in 3 s"),
        ("", "1 change must be delivered after it"),
    ]
