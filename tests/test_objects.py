"""Everything that a write of one object says, from outside: the same answers while it is pending as after the drain."""

import hashlib
from collections.abc import Iterable
from typing import Any

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.relays import Relay, Relayed
from tests.remotes import Remote
from tests.test_gateway import AWAY, code_of, data_of, drained, eventually

Away = tuple[Daemon, Relayed, str]


@pytest.fixture
def away(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> Away:
    """A daemon whose remote refuses every connection, and the relay that does."""
    relayed = relay(remote)
    relayed.set(mode="refuse")
    return start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY), relayed, bucket


def come_back(away: Away) -> None:
    """Let the remote answer, and wait until it has everything."""
    daemon, relayed, _ = away
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))


def header_of(answer: dict[str, Any], name: str) -> str | None:
    value: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get(name)
    return value


# What a put says, what GET and HEAD show of it, and the remotes that do not keep it.
MEMBERS: list[tuple[dict[str, Any], dict[str, str], str]] = [
    (
        {"CacheControl": "no-cache", "ContentLanguage": "de"},
        {"cache-control": "no-cache", "content-language": "de"},
        "",
    ),
    ({"ContentDisposition": "attachment"}, {"content-disposition": "attachment"}, ""),
    ({"ContentEncoding": "br", "ContentType": "x/y"}, {"content-encoding": "br", "content-type": "x/y"}, ""),
    ({"Metadata": {"a": "1", "b": "2 3"}}, {"x-amz-meta-a": "1", "x-amz-meta-b": "2 3"}, ""),
    ({"Tagging": "a=b&c=d%20e"}, {"x-amz-tagging-count": "2"}, ""),
    ({"StorageClass": "REDUCED_REDUNDANCY"}, {"x-amz-storage-class": "REDUCED_REDUNDANCY"}, "versitygw"),
    ({"ServerSideEncryption": "AES256"}, {"x-amz-server-side-encryption": "AES256"}, "versitygw"),
    ({"WebsiteRedirectLocation": "/x"}, {"x-amz-website-redirect-location": "/x"}, "minio"),
    ({"StorageClass": "STANDARD", "RequestPayer": "requester"}, {}, ""),
    ({"ACL": "private"}, {}, ""),
    # The one remote that judges it calls the owner by its access key.
    ({"ExpectedBucketOwner": "versitygw"}, {}, ""),
]


@pytest.mark.semantics("Q-6", "R-1")
def test_what_a_put_says_is_shown_while_it_is_pending_and_after(away: Away, remote: Remote) -> None:
    daemon, _, bucket = away
    s3, there = daemon.client(), remote.client()
    for number, (said, shown, _) in enumerate(MEMBERS):
        put = s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x", **said)
        assert header_of(put, "x-s3d-durability") == "local"
        assert shows(s3, bucket, f"k{number}", shown) == [shown, shown]
    come_back(away)
    for number, (_, shown, unkept) in enumerate(MEMBERS):
        if remote.name != unkept:
            assert shows(there, bucket, f"k{number}", shown) == [shown, shown]


def shows(s3: Any, bucket: str, key: str, names: Iterable[str]) -> list[dict[str, str | None]]:
    """What GET and HEAD of an object show."""
    got = s3.get_object(Bucket=bucket, Key=key)
    got["Body"].read()
    head = s3.head_object(Bucket=bucket, Key=key)
    return [{name: header_of(answer, name) for name in names} for answer in (got, head)]


@pytest.mark.semantics("Q-14")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_clients_key_never_touches_the_disk(away: Away) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client()
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "0123456789abcdef0123456789abcdef"}
    refused: list[dict[str, Any]] = [
        key,
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"},
        {"StorageClass": "GLACIER"},
        {"ObjectLockLegalHoldStatus": "ON"},
    ]
    for said in refused:
        assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"clear text", **said) == "ServiceUnavailable"
    assert daemon.status()["pending"]["changes"] == 0
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.list_buckets) == "")
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"clear text", StorageClass="GLACIER")
    assert header_of(put, "x-s3d-durability") == "remote"
    for path in daemon.local_dir.rglob("*"):
        assert not path.is_file() or b"clear text" not in path.read_bytes()


@pytest.mark.semantics("Q-15")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_tags_beyond_the_limits_are_refused_while_the_client_is_there(away: Away) -> None:
    daemon, _, bucket = away
    for header in ("&".join(f"k{n}=" for n in range(11)), "k=1&k=2", "k" * 129 + "=", "k=" + "v" * 257):
        assert code_of(daemon.client().put_object, Bucket=bucket, Key="k", Body=b"x", Tagging=header) == "InvalidTag"
    assert daemon.status()["pending"]["changes"] == 0


def tags_of(s3: Any, bucket: str, key: str) -> list[tuple[str, str]]:
    return [(tag["Key"], tag["Value"]) for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]]


def tagging(**tags: str) -> dict[str, Any]:
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


@pytest.mark.semantics("Q-19", "D-1", "D-6", "R-1", "Q-15")
def test_tags_of_a_pending_put_are_folded_into_it(away: Away, remote: Remote) -> None:
    daemon, _, bucket = away
    s3, there = daemon.client(), remote.client()
    for key in ("k", "deleted", "cli"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x", Tagging="old=1")
        assert tags_of(s3, bucket, key) == [("old", "1")]
    put = s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tagging(a="1", b="c d+e"))
    deleted = s3.delete_object_tagging(Bucket=bucket, Key="deleted")
    assert [header_of(answer, "x-s3d-durability") for answer in (put, deleted)] == ["local", "local"]
    assert daemon.cli("set", f"{bucket}/cli", "--tag", "new=2").returncode == 0
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=tagging(k="v" * 257)) == "InvalidTag"
    many = tagging(**{f"k{n}": "" for n in range(11)})
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=many) == "InvalidTag"
    s3.delete_object(Bucket=bucket, Key="gone")
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="gone", Tagging=tagging(a="1")) == "NoSuchKey"
    assert code_of(s3.get_object_tagging, Bucket=bucket, Key="gone") == "NoSuchKey"
    assert daemon.status()["pending"]["changes"] == 4
    answers = {"k": [("a", "1"), ("b", "c d+e")], "deleted": [], "cli": [("new", "2"), ("old", "1")]}
    for key, tags in answers.items():
        assert sorted(tags_of(s3, bucket, key)) == tags
        counted = {"x-amz-tagging-count": str(len(tags)) if tags else None}
        assert shows(s3, bucket, key, counted) == [counted, counted]
    come_back(away)
    for key, tags in answers.items():
        assert sorted(tags_of(there, bucket, key)) == tags


@pytest.mark.semantics("Q-19", "Q-1", "R-1")
def test_tags_of_a_put_under_way_are_pushed_after_it(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    relayed.set(mode="drop", only=["PUT"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="old=1")
    eventually(lambda: daemon.status()["states"]["unknown"] == 1)
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tagging(a="1"))
    assert daemon.status()["pending"]["changes"] == 2
    assert tags_of(s3, bucket, "k") == [("a", "1")]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert tags_of(remote.client(), bucket, "k") == [("a", "1")]


@pytest.mark.semantics("Q-19")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_tags_without_a_pending_put_go_through(away: Away, remote: Remote) -> None:
    daemon, relayed, bucket = away
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    s3 = daemon.client()
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=tagging(a="1")) == "ServiceUnavailable"
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.list_buckets) == "")
    put = s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tagging(a="1"))
    assert header_of(put, "x-s3d-durability") == "remote"
    assert tags_of(remote.client(), bucket, "k") == [("a", "1")]


@pytest.mark.semantics("Q-19", "D-1", "D-6", "R-1")
def test_a_copy_of_a_pending_put_is_queued(away: Away, remote: Remote) -> None:
    daemon, _, bucket = away
    s3, there = daemon.client(), remote.client()
    small, large = b"x", data_of(300_000)
    source = {"ContentType": "text/x", "Metadata": {"a": "1"}, "Tagging": "a=1"}
    s3.put_object(Bucket=bucket, Key="small +%", Body=small, **source)
    s3.put_object(Bucket=bucket, Key="large", Body=large, **source)
    replaced: dict[str, Any] = {
        "MetadataDirective": "REPLACE", "ContentType": "x/y", "Metadata": {"b": "2"},
        "TaggingDirective": "REPLACE", "Tagging": "b=2",
    }  # fmt: skip
    copies: dict[str, tuple[str, dict[str, Any]]] = {
        "c1": ("small +%", {}),
        "c2": ("large", {}),
        "c3": ("large", replaced),
        "c4": ("c3", {"CopySourceIfMatch": f'"{hashlib.md5(large).hexdigest()}"'}),
        "large": ("large", replaced),
    }
    for key, (name, said) in copies.items():
        copied = s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": name}, **said)
        assert header_of(copied, "x-s3d-durability") == "local"
        head = s3.head_object(Bucket=bucket, Key=key)
        assert copied["CopyObjectResult"]["ETag"] == head["ETag"]
        assert copied["CopyObjectResult"]["LastModified"] == head["LastModified"]
    own = {"Bucket": bucket, "Key": "c1", "CopySource": {"Bucket": bucket, "Key": "c1"}}
    assert code_of(s3.copy_object, **own) == "InvalidRequest"
    assert code_of(s3.copy_object, **own, CopySourceIfMatch='"x"') == "PreconditionFailed"
    unseen = {"Bucket": bucket, "Key": "c5", "CopySource": {"Bucket": bucket, "Key": "not pending"}}
    assert code_of(s3.copy_object, **unseen) == "ServiceUnavailable"
    s3.put_object(Bucket=bucket, Key="small +%", Body=b"newer")
    s3.delete_object(Bucket=bucket, Key="c3")
    assert code_of(s3.copy_object, Bucket=bucket, Key="c5", CopySource=f"{bucket}/c3") == "NoSuchKey"

    def state(client: Any, key: str) -> tuple[Any, ...]:
        got = client.get_object(Bucket=bucket, Key=key)
        return got["Body"].read(), got["ETag"], got["ContentType"], got["Metadata"], tags_of(client, bucket, key)

    keys = ["c1", "c2", "c4", "large"]
    before = [state(s3, key) for key in keys]
    assert [data for data, *_ in before] == [small, large, large, large]
    assert [described for _, _, *described in before] == [
        ["text/x", {"a": "1"}, [("a", "1")]], ["text/x", {"a": "1"}, [("a", "1")]],
        ["x/y", {"b": "2"}, [("b", "2")]], ["x/y", {"b": "2"}, [("b", "2")]],
    ]  # fmt: skip
    come_back(away)
    assert [state(there, key) for key in keys] == before


@pytest.mark.semantics("Q-19", "R-3")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_copy_of_what_is_not_pending_is_the_remotes(daemon: Daemon, remote: Remote, bucket: str) -> None:
    s3 = daemon.client()
    remote.client().put_object(Bucket=bucket, Key="there", Body=b"x")
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/there")
    assert header_of(copied, "x-s3d-durability") == "remote"
    assert remote.client().get_object(Bucket=bucket, Key="copy")["Body"].read() == b"x"
