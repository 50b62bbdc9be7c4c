"""Listings and HEADs through the daemon while a real store comes and goes (SEMANTICS C-10)."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, eventually
from tests.relays import AWAY, Relay
from tests.remotes import Remote

pytestmark = pytest.mark.remote
CACHED = {**AWAY, "S3D_READ_CACHE": "true", "S3D_WRITE_QUEUE_DELAY": "1h"}
KEYS = [f"k{number:05}" for number in range(300)]
PAGE = 10


def page_of(s3: Any, bucket: str, token: str | None) -> tuple[list[str], str | None, bool]:
    """Names of a page, the token of the next one, and whether it is out of memory."""
    more = {} if token is None else {"ContinuationToken": token}
    page = s3.list_objects_v2(Bucket=bucket, Prefix="k", MaxKeys=PAGE, **more)
    headers = page["ResponseMetadata"]["HTTPHeaders"]
    stale = headers.get("x-cache") == "STALE"
    assert stale == ("age" in headers)
    return [one["Key"] for one in page.get("Contents", ())], page.get("NextContinuationToken"), stale


def is_remembered(daemon: Daemon, kind: str, count: int) -> bool:
    """Whether so many names, or HEADs, are remembered."""
    daemon.status()
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return f's3d_cache_remembered_objects{{kind="{kind}"}} {float(count)}' in text


@pytest.mark.semantics("C-10d")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "remote, queue", [("versitygw", "true"), ("minio", "true"), ("minio", "false")], indirect=["remote"]
)
def test_a_listing_goes_on_over_an_outage(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, queue: str
) -> None:
    """300 names by 10: online, offline after page 7 with something pending, and online again at page 20."""
    far = remote.client(max_pool_connections=8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: far.put_object(Bucket=bucket, Key=key, Body=b"x"), KEYS))
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE=queue, **CACHED)
    s3 = daemon.client()
    token = None
    for number in range(len(KEYS) // PAGE):
        names, token, stale = page_of(s3, bucket, token)
        assert (len(names), stale) == (PAGE, False), number
    eventually(lambda: is_remembered(daemon, "names", len(KEYS)))
    s3.head_object(Bucket=bucket, Key=KEYS[5])
    eventually(lambda: is_remembered(daemon, "heads", 1))

    found: list[str] = []
    marks: list[bool] = []
    token = None
    for number in range(1, 1000):
        if number == 8:
            relayed.set(mode="refuse")
            eventually(lambda: remote_is(daemon, "away", s3, bucket))
            if queue == "true":
                s3.put_object(Bucket=bucket, Key="k00150+", Body=b"pending")
                s3.delete_object(Bucket=bucket, Key="k00160")
            assert code_of(s3.list_objects_v2, Bucket=bucket, Prefix="unlisted/") in ("ServiceUnavailable", "503")
            head = s3.head_object(Bucket=bucket, Key=KEYS[5])
            assert head["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "STALE"
        if number == 20:
            relayed.set(mode="pass")
            eventually(lambda: daemon.status()["remote"]["state"] == "reachable")
        names, token, stale = page_of(s3, bucket, token)
        found += names
        marks.append(stale)
        if token is None:
            break
    changed = queue == "true"
    expected = sorted({*KEYS, "k00150+"} - {"k00160"}) if changed else KEYS
    assert found == expected
    assert marks[:7] == [False] * 7
    assert marks[7:19] == [True] * 12
    assert not any(marks[19:])


def remote_is(daemon: Daemon, state: str, s3: Any, bucket: str) -> bool:
    """Whether the remote is in a state, after it was asked for something that nobody remembers."""
    code_of(s3.get_object, Bucket=bucket, Key="nobody-asked")
    return bool(daemon.status()["remote"]["state"] == state)
