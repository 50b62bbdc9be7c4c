"""Listings while changes are pending: page by page what the remote will list when they have been delivered."""

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, unquote_plus

import pytest

from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, drained
from tests.relays import Relay
from tests.remotes import REMOTES, Remote

LATER = {"S3D_WRITE_QUEUE_DELAY": "1h"}
"""What is put stays pending until the daemon drains."""
THERE = ["a/1", "a/2", "a/b/1", "b", "c/1", "d/1", "d/2", "e", "m/x", "z é+&<", "zz"]
PUT = ["a/15", "a/2", "a/b/2", "bb", "c", "f/g/h", "m/y", "z <new>", "zzz"]
DELETED = ["a/1", "a/b/1", "d/1", "d/2", "e", "zz", "never"]
PREFIXES = ["", "a/", "a/b", "d/", "z", "none"]
DELIMITERS = ["", "/", "b/"]
STARTS = ["", "a/1", "a/", "a/b/1", "d/1", "zz"]


def key_of(remote: Remote, key: str) -> bool:
    """Whether a remote can keep a key beside the others: only moto has an object beside a folder of its name."""
    return remote.name == "moto" or key != "c"


def pages_v2(s3: Any, **query: Any) -> Iterator[tuple[list[str], list[str], bool]]:
    while True:
        page = s3.list_objects_v2(**query)
        yield names_of(page)
        assert page["KeyCount"] == len(page.get("Contents", [])) + len(page.get("CommonPrefixes", []))
        if not page["IsTruncated"]:
            assert "NextContinuationToken" not in page
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def pages_v1(s3: Any, **query: Any) -> Iterator[tuple[list[str], list[str], bool]]:
    if "StartAfter" in query:
        query["Marker"] = query.pop("StartAfter")
    while True:
        page = s3.list_objects(**query)
        yield names_of(page)
        if not page["IsTruncated"]:
            return
        query["Marker"] = page.get("NextMarker") or page["Contents"][-1]["Key"]


def names_of(page: dict[str, Any]) -> tuple[list[str], list[str], bool]:
    contents = [entry["Key"] for entry in page.get("Contents", [])]
    return contents, [entry["Prefix"] for entry in page.get("CommonPrefixes", [])], page["IsTruncated"]


def expected(keys: set[str], prefix: str, delimiter: str, start: str) -> list[str]:
    """What a listing gives in all: keys and common prefixes in byte order."""
    found = set()
    for key in keys:
        if key.startswith(prefix) and key > start:
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            rolled = key if end < 0 else key[: end + len(delimiter)]
            if rolled == key or rolled != start:
                found.add(rolled)
    return sorted(found, key=str.encode)


@pytest.fixture
def pending(remote: Remote, bucket: str, start_daemon: StartDaemon) -> tuple[Daemon, set[str]]:
    """A daemon with pending puts and deletes, and the keys that there are with them."""
    for key in THERE:
        remote.client().put_object(Bucket=bucket, Key=key, Body=b"old")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **LATER)
    s3 = daemon.client()
    puts = [key for key in PUT if key_of(remote, key)]
    for key in puts:
        s3.put_object(Bucket=bucket, Key=key, Body=b"newer")
    for key in DELETED:
        s3.delete_object(Bucket=bucket, Key=key)
    assert daemon.status()["pending"]["changes"] == len(puts) + len(DELETED)
    return daemon, (set(THERE) | set(puts)) - set(DELETED)


@pytest.mark.semantics("R-1", "R-8")
@pytest.mark.parametrize("pages", [pages_v1, pages_v2])
def test_listings_show_what_is_pending_page_by_page(
    pending: tuple[Daemon, set[str]], remote: Remote, bucket: str, pages: Any
) -> None:
    daemon, keys = pending
    s3 = daemon.client()
    queries = itertools.product(PREFIXES, DELIMITERS, STARTS, (1, 2, 3, 1000))
    # Each store has each prefix, delimiter and start, and all have each size of pages.
    first = (REMOTES.index(remote.name) + (pages is pages_v2)) % len(REMOTES)
    for prefix, delimiter, start, most in itertools.islice(queries, first, None, len(REMOTES)):
        query = {"Prefix": prefix, "MaxKeys": most, "StartAfter": start, "Delimiter": delimiter}
        if not start.startswith(prefix) and start:
            # Servers do as they like, and what is not merged is theirs to answer.
            continue
        given = {name: value for name, value in query.items() if value}
        found = []
        for contents, prefixes, truncated in pages(s3, Bucket=bucket, **given):
            names = sorted(contents + prefixes, key=str.encode)
            assert len(names) == most or not truncated, (query, names)
            assert names or not truncated
            found += names
        assert found == expected(keys, prefix, delimiter, start), query


@pytest.mark.semantics("R-8", "R-8d")
def test_a_listing_in_pages_has_no_gaps_or_doubles_while_the_queue_drains(
    pending: tuple[Daemon, set[str]], remote: Remote, bucket: str
) -> None:
    daemon, keys = pending
    s3, found = daemon.client(), []
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    while True:
        found += [entry["Key"] for entry in page.get("Contents", [])]
        if len(found) == 6:
            # The rest of the pages is read when everything has been delivered, with the token of before.
            assert daemon.terminate() == 0
            daemon.settings["S3D_WRITE_QUEUE_DELAY"] = "0s"
            daemon.start()
        if not page["IsTruncated"]:
            break
        page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, ContinuationToken=page["NextContinuationToken"])
    assert found == sorted(keys, key=str.encode)
    there = remote.client().list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in there["Contents"]] == found


@pytest.mark.semantics("R-8")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_token_given_when_nothing_was_pending_shows_what_became_pending_after_it(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    for number in range(6):
        remote.client().put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **LATER)
    s3 = daemon.client()
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    second = s3.list_objects_v2(Bucket=bucket, MaxKeys=1, ContinuationToken=first["NextContinuationToken"])
    assert second["ContinuationToken"] == first["NextContinuationToken"]
    s3.put_object(Bucket=bucket, Key="k25", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k11", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="k4")
    rest = s3.list_objects_v2(Bucket=bucket, ContinuationToken=second["NextContinuationToken"])
    assert [entry["Key"] for entry in rest["Contents"]] == ["k25", "k3", "k5"]


@pytest.mark.semantics("R-1")
def test_a_pending_object_is_listed_as_it_will_be(
    pending: tuple[Daemon, set[str]], remote: Remote, bucket: str
) -> None:
    daemon, _ = pending
    s3, names = daemon.client(), ("ETag", "Size", "StorageClass", "Owner")
    before = {e["Key"]: e for e in s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"]}
    first = {e["Key"]: e for e in s3.list_objects(Bucket=bucket)["Contents"]}
    assert daemon.terminate() == 0
    after = {e["Key"]: e for e in remote.client().list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"]}
    assert list(before) == list(after) == list(first)
    for key, entry in after.items():
        shown = [name for name in names if name in entry]
        assert [before[key][name] for name in shown] == [entry[name] for name in shown], key
        assert first[key]["ETag"] == entry["ETag"]


@pytest.mark.semantics("R-1", "R-1b")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_listing_needs_the_remote_unless_only_pending_changes_are_asked_for(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    relayed.set(mode="refuse")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    for key in ("p/1", "p/2", "q"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key="q")
    assert code_of(s3.list_objects_v2, Bucket=bucket) == "ServiceUnavailable"
    status, headers, document = raw(daemon, "GET", f"/{bucket}?list-type=2&prefix=p/", x_s3d_listing="pending")
    assert (status, headers["x-s3d-listing"]) == (200, "pending")
    assert document.count(b"<Contents>") == 2
    _, _, document = raw(daemon, "GET", f"/{bucket}?delimiter=/", x_s3d_listing="pending")
    assert b"<Prefix>p/</Prefix>" in document
    assert b"<Contents>" not in document


@pytest.mark.semantics("R-7", "R-8")
@pytest.mark.parametrize("remote", ["moto", "minio", "versitygw"], indirect=True)
def test_a_page_with_nothing_pending_is_the_remotes_own(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    for key in THERE:
        remote.client().put_object(Bucket=bucket, Key=key, Body=b"old")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    for query in ({}, {"Delimiter": "/"}, {"Prefix": "a/", "MaxKeys": 5}, {"EncodingType": "url"}):
        for operation in ("list_objects", "list_objects_v2"):
            mine = getattr(daemon.client(), operation)(Bucket=bucket, **query)
            theirs = getattr(remote.client(), operation)(Bucket=bucket, **query)
            for answer in (mine, theirs):
                answer.pop("ResponseMetadata")
            assert mine == theirs


@pytest.mark.semantics("R-4", "R-8d")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_token_of_another_query_is_refused(pending: tuple[Daemon, set[str]], bucket: str) -> None:
    daemon, _ = pending
    token = daemon.client().list_objects_v2(Bucket=bucket, MaxKeys=1)["NextContinuationToken"]
    again = {"Bucket": bucket, "ContinuationToken": token, "Prefix": "a/"}
    assert code_of(daemon.client().list_objects_v2, **again) == "InvalidArgument"


@pytest.mark.semantics("R-8")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_encoding_type_url_is_kept_in_a_merged_page(pending: tuple[Daemon, set[str]], bucket: str) -> None:
    daemon, _ = pending
    _, _, document = raw(daemon, "GET", f"/{bucket}?list-type=2&prefix=z&encoding-type=url")
    keys = [part.partition(b"</Key>")[0].decode() for part in document.split(b"<Key>")[1:]]
    assert b"<EncodingType>url</EncodingType>" in document
    assert not any("<" in key or " " in key for key in keys)
    assert [unquote(key) for key in keys] == [unquote_plus(key) for key in keys] == ["z <new>", "z é+&<", "zzz"]


@pytest.mark.semantics("R-1", "Q-1")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_common_prefixes_follow_pending_deletes_of_all_that_is_under_them(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    there = remote.client()
    for number in range(1001):
        there.put_object(Bucket=bucket, Key=f"p/{number:04}", Body=b"")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **LATER)
    s3 = daemon.client()
    keys = [{"Key": f"p/{number:04}"} for number in range(1001)]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[:1000]})
    assert s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"] == [{"Prefix": "p/"}]
    assert names_of(s3.list_objects_v2(Bucket=bucket, MaxKeys=1)) == (["p/1000"], [], False)
    s3.delete_object(Bucket=bucket, Key="p/1000")
    assert names_of(s3.list_objects_v2(Bucket=bucket, Delimiter="/")) == ([], [], False)
    assert names_of(s3.list_objects_v2(Bucket=bucket, MaxKeys=10)) == ([], [], False)
    assert drained(daemon) is False


@pytest.mark.semantics("R-3", "R-3a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_list_object_versions_waits_for_its_prefix_and_for_nothing_else(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    remote.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    daemon = start_daemon(remote, S3D_WRITE_QUEUE_VERSIONED="Queue", **LATER)
    s3 = daemon.client()
    # The first of its kind goes to the remote, the others wait.
    for key in ("first", "p/1", "q/1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert daemon.status()["pending"]["changes"] == 2
    versions = s3.list_object_versions(Bucket=bucket, Prefix="p/")
    assert [version["Key"] for version in versions["Versions"]] == ["p/1"]
    assert daemon.status()["pending"]["changes"] == 1
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 3
    assert drained(daemon)
