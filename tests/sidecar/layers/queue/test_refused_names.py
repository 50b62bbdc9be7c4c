"""Names that a store of files refuses: told to the client from the first refusal on, so that nothing else parks."""

from pathlib import Path

import pytest

from s3d.errors import S3Error
from tests.clients import code_of
from tests.daemons import Daemon, drained, eventually
from tests.gateways import Gateway, gateway, quick
from tests.listers import Lister, Style
from tests.remotes import Remote
from tests.stores import Odd, Store, until

__all__ = ["quick"]
pytestmark = pytest.mark.usefixtures("quick")

versitygw = pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
BELOW = Odd(409, body="<Error><Code>ObjectParentIsFile</Code><Message>no</Message></Error>")


def settled(daemon: Daemon) -> bool:
    """Whether all but what is parked is delivered."""
    status = daemon.status()
    return bool(status["pending"]["changes"] == status["states"].get("parked", 0))


@pytest.mark.semantics("Q-15c")
@versitygw
def test_a_name_that_the_store_refuses_is_refused_at_the_door_from_the_first_time_on(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    daemon.warm(bucket)
    s3, there = daemon.client(), remote.client()
    s3.put_object(Bucket=bucket, Key="p", Body=b"x")
    eventually(lambda: drained(daemon))
    s3.put_object(Bucket=bucket, Key="p/q", Body=b"x")
    eventually(lambda: daemon.status()["states"].get("parked", 0) == 1)
    there.put_object(Bucket=bucket, Key="file", Body=b"x")
    there.put_object(Bucket=bucket, Key="a/b/c", Body=b"x")
    refused = {
        "p/q": "ObjectParentIsFile",
        "p/r": "ObjectParentIsFile",
        "p/q/r": "ObjectParentIsFile",
        "file/x": "ObjectParentIsFile",
        "file/": "ObjectParentIsFile",
        "a": "ExistingObjectIsDirectory",
        "a/b": "ExistingObjectIsDirectory",
        "dir/": "DirectoryObjectContainsData",
    }
    for key, code in refused.items():
        body = b"" if key == "file/" else b"x"
        assert code_of(s3.put_object, Bucket=bucket, Key=key, Body=body) == code, key
        if body:
            assert code_of(there.put_object, Bucket=bucket, Key=key, Body=body) == code, key
    assert code_of(s3.create_multipart_upload, Bucket=bucket, Key="p/whole") == "ObjectParentIsFile"
    assert code_of(s3.copy_object, Bucket=bucket, Key="p/copy", CopySource=f"{bucket}/file") == "ObjectParentIsFile"
    for key in ("p", "a/b/c", "a/b/d", "p!", "new/er", "file"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"y")
    s3.put_object(Bucket=bucket, Key="empty/", Body=b"")
    eventually(lambda: settled(daemon))
    assert daemon.status()["states"].get("parked", 0) == 1
    for key in ("p", "a/b/c", "a/b/d", "p!", "new/er", "file"):
        assert there.get_object(Bucket=bucket, Key=key)["Body"].read() == b"y"


async def parked(gate: Gateway, store: Store) -> None:
    """Have a name refused."""
    hook = store.hook(BELOW, "PutObject", key="p/q")
    await gate.ask("PutObject", {"Bucket": "b", "Key": "p/q"}, b"y")
    await until(lambda: gate.state("b", "p/q") == "parked")
    hook.times = hook.hits


@pytest.mark.semantics("Q-15d")
async def test_what_is_pending_is_in_the_way_too_and_all_of_it_is_remembered(tmp_path: Path) -> None:
    async with Store(Lister(Style(), {"b": []})) as store:
        async with gateway(tmp_path, store, ("b",)) as gate:
            await parked(gate, store)
        async with gateway(tmp_path, store, ("b",), delay="1h") as gate:
            for key in ("x", "d/e", "gone"):
                await gate.ask("PutObject", {"Bucket": "b", "Key": key}, b"y")
            for key, code in {
                "x/y": "ObjectParentIsFile",
                "x/y/z": "ObjectParentIsFile",
                "d": "ExistingObjectIsDirectory",
                "s/": "DirectoryObjectContainsData",
            }.items():
                answer = await gate.ask("PutObject", {"Bucket": "b", "Key": key}, b"y")
                assert isinstance(answer, S3Error) and answer.code == code, key  # noqa: PT018
            await gate.ask("DeleteObject", {"Bucket": "b", "Key": "gone"})
            assert not isinstance(await gate.ask("PutObject", {"Bucket": "b", "Key": "gone/now"}, b"y"), S3Error)
            assert "gone" not in store.fake.buckets["b"].keys


async def test_nothing_is_asked_of_a_store_that_refuses_no_name(tmp_path: Path) -> None:
    async with Store(Lister(Style(), {"b": []})) as store, gateway(tmp_path, store, ("b",)) as gate:
        for key in ("p", "p/q", "p/q/", "p/q/r"):
            assert not isinstance(await gate.ask("PutObject", {"Bucket": "b", "Key": key}, b"y"), S3Error)
        await until(lambda: not gate.queue.pending()["changes"])
        assert not store.count("HeadObject") + store.count("ListObjectsV2")
