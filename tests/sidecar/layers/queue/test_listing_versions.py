"""Versions of a bucket that keeps none, with what is pending merged in; and what a parked change is an obstacle to."""

from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from tests.daemons import StartDaemon
from tests.gateways import gateway, quick
from tests.listers import Lister, Style, walked
from tests.remotes import Remote
from tests.stores import Odd, Store, until

__all__ = ["quick"]
pytestmark = pytest.mark.usefixtures("quick")

both = pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
FOREVER = Odd(400, body="<Error><Code>EntityTooLarge</Code><Message>no</Message></Error>")


def versions(client: Any, bucket: str, **query: Any) -> list[tuple[str, str, bool, int]]:
    """Key, version, whether it is the latest, and size, page by page; common prefixes by their name alone."""
    found: list[tuple[str, str, bool, int]] = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, **query):
        assert "DeleteMarkers" not in page
        shown = [(one["Key"], one["VersionId"], one["IsLatest"], one["Size"]) for one in page.get("Versions", ())]
        shown += [(one["Prefix"], "", False, 0) for one in page.get("CommonPrefixes", ())]
        assert shown or not page["IsTruncated"]
        found += sorted(shown)
    return found


@pytest.mark.semantics("R-8f")
@both
def test_versions_of_a_bucket_that_keeps_none_show_what_is_pending(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE_DELAY="1h", S3D_BUCKETS=bucket, S3D_BARRIER_TIMEOUT="1s")
    there, s3 = remote.client(), daemon.client()
    for number in range(7):
        there.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    there.put_object(Bucket=bucket, Key="d/1", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k1", Body=b"newer")
    s3.put_object(Bucket=bucket, Key="k1+", Body=b"new")
    s3.put_object(Bucket=bucket, Key="e/1", Body=b"new")
    s3.delete_object(Bucket=bucket, Key="k3")
    s3.delete_object(Bucket=bucket, Key="k6")
    sizes = {"d/1": 1, "e/1": 3, "k0": 1, "k1": 5, "k1+": 3, "k2": 1, "k4": 1, "k5": 1}
    expected = [(key, "null", True, size) for key, size in sizes.items()]
    for most in (1, 2, 3, 1000):
        assert versions(s3, bucket, PaginationConfig={"PageSize": most}) == expected, most
    assert versions(s3, bucket, Prefix="k1") == expected[3:5]
    rolled = [("d/", "", False, 0), ("e/", "", False, 0), *expected[2:]]
    for most in (1, 2, 1000):
        assert versions(s3, bucket, Delimiter="/", PaginationConfig={"PageSize": most}) == rolled, most
    page = s3.list_object_versions(Bucket=bucket, KeyMarker="k1", MaxKeys=2)
    assert [one["Key"] for one in page["Versions"]] == ["k1+", "k2"]


@pytest.mark.semantics("R-8g")
@both
def test_versions_that_a_bucket_keeps_after_all_are_the_remotes_to_list(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE_DELAY="1h", S3D_BUCKETS=bucket, S3D_BARRIER_TIMEOUT="60s")
    there, s3 = remote.client(), daemon.client()
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    there.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        there.put_object(Bucket=bucket, Key="k", Body=b"x")
    ours = s3.list_object_versions(Bucket=bucket)["Versions"]
    theirs = there.list_object_versions(Bucket=bucket)["Versions"]
    assert [(one["Key"], one["VersionId"]) for one in ours] == [(one["Key"], one["VersionId"]) for one in theirs]
    assert [one["Key"] for one in ours] == ["a", "k", "k"]


@pytest.mark.semantics("Q-9d", "R-8f")
async def test_a_parked_change_stands_in_the_way_of_what_depends_on_it_alone(tmp_path: Path) -> None:
    async with Store(Lister(Style(), {"b": ["k"]})) as store, gateway(tmp_path, store, ("b",)) as gate:
        store.hook(FOREVER, "PutObject", key="parked")
        await gate.ask("PutObject", {"Bucket": "b", "Key": "parked"}, b"y")
        await until(lambda: gate.state("b", "parked") == "parked")
        listed = await gate.ask("ListObjectVersions", {"Bucket": "b"})
        assert not isinstance(listed, S3Error)
        assert [one["Key"] for one in listed.result["Versions"]] == ["k", "parked"]
        refused = await gate.ask("GetObjectAcl", {"Bucket": "b", "Key": "parked"})
        assert isinstance(refused, S3Error)
        assert (refused.status, refused.details["PendingKey"]) == (503, "parked")
        assert "Retry-After" not in refused.headers


class Slow(Lister):
    """A store that lists the directory of an object that it is about to delete."""

    ghosts: frozenset[str] = frozenset()

    def _entries(self, params: Any) -> list[tuple[str, bool]]:
        prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
        found = super()._entries(params)
        if delimiter:
            found += [
                (f"{key}/", True) for key in self.ghosts if key.startswith(prefix) and (f"{key}/", True) not in found
            ]
        return sorted(found, key=lambda one: self.style.order(one[0]))


@pytest.mark.semantics("R-8e")
@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("most", [1, 2, 1000])
async def test_a_deleted_object_leaves_no_directory(tmp_path: Path, most: int, second: bool) -> None:
    keys = ["a", "a-b", "a/b", "d/gone", "gone", "gone!", "gone-too", "stays"]
    fake = Slow(Style(), {"b": keys})
    fake.ghosts = frozenset(["gone", "gone-too", "d/gone", "a"])
    async with Store(fake) as store, gateway(tmp_path, store, ("b",), delay="1h") as gate:
        for key in ("gone", "gone-too", "d/gone", "a"):
            await gate.ask("DeleteObject", {"Bucket": "b", "Key": key})
        listed = await walked(gate, "b", second=second, MaxKeys=most, Delimiter="/")
        assert listed == ["a-b", "a/", "gone!", "stays"]
        assert await walked(gate, "b", second=second, MaxKeys=most, Delimiter="/", Prefix="d/") == []
        begin: dict[str, Any] = {"StartAfter": "gone!"} if second else {"Marker": "gone!"}
        assert await walked(gate, "b", second=second, MaxKeys=most, Delimiter="/", **begin) == ["stays"]


@pytest.mark.semantics("R-8e")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_directory_that_has_something_stays(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE_DELAY="1h", S3D_BUCKETS=bucket)
    s3 = daemon.client()
    for key in ("k/1", "l/1"):
        remote.client().put_object(Bucket=bucket, Key=key, Body=b"x")
    for key in ("k", "l"):
        s3.delete_object(Bucket=bucket, Key=key)
    s3.delete_object(Bucket=bucket, Key="l/1")
    assert [one["Prefix"] for one in s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]] == ["k/"]
