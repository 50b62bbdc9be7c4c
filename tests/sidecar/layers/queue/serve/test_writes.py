"""Everything that a write of one object says, from outside: the same answers while it is pending as after the drain."""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.clients import code_of, data_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote

Away = tuple[Daemon, Relayed, str]
stores = pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)


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
@stores
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
@stores
def test_tags_of_a_put_under_way_are_pushed_after_it(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="first of its profile", Body=b"", Tagging="old=1")
    relayed.set(mode="drop", only=["PUT"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="old=1")
    eventually(lambda: daemon.status()["states"]["in_doubt"] == 1)
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


@pytest.mark.semantics("D-1", "D-6", "Q-19", "Q-19a", "R-1")
@stores
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


@pytest.mark.semantics("Q-19", "Q-19a", "R-3")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_copy_of_what_is_not_pending_is_the_remotes(daemon: Daemon, remote: Remote, bucket: str) -> None:
    s3 = daemon.client()
    remote.client().put_object(Bucket=bucket, Key="there", Body=b"x")
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/there")
    assert header_of(copied, "x-s3d-durability") == "remote"
    assert remote.client().get_object(Bucket=bucket, Key="copy")["Body"].read() == b"x"


def post(daemon: Daemon, bucket: str, file: bytes, **fields: str) -> tuple[int, dict[str, str], bytes]:
    """Post a form as a browser does."""
    names = {name: name if name.startswith("success_") else name.replace("_", "-") for name in fields}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{names[name]}"\r\n\r\n{value}\r\n'
             for name, value in fields.items()]  # fmt: skip
    head = "".join(parts) + '--x\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
    form = head.encode() + file + b"\r\n--x--\r\n"
    return raw(daemon, "POST", f"/{bucket}", form, Content_Type="multipart/form-data; boundary=x")


def policy(bucket: str, *conditions: Any, expiration: str = "2100-01-01T00:00:00Z") -> dict[str, str]:
    """A policy and the signature that nobody looks at."""
    document = {"expiration": expiration, "conditions": [{"bucket": bucket}, *conditions]}
    return {"policy": base64.b64encode(json.dumps(document).encode()).decode(), "signature": "s"}


@pytest.mark.semantics("R-4")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_checksum_that_was_presigned_before_there_was_a_body_counts_for_nothing(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    daemon.warm(bucket)
    s3 = daemon.client(signature_version="s3v4")
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"}).removeprefix(daemon.endpoint)
    sums = "&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
    status, headers, _ = raw(daemon, "PUT", url + sums, b"not empty")
    assert (status, headers["x-s3d-durability"]) == (200, "local")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"not empty"


def encryption_of_upload(s3: Any, bucket: str) -> list[str | None]:
    """What the answers to the steps of an upload say of its encryption."""
    name = {"Bucket": bucket, "Key": "upload"}
    begun = s3.create_multipart_upload(**name)
    part = s3.upload_part(**name, UploadId=begun["UploadId"], PartNumber=1, Body=b"abc")
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    made = s3.complete_multipart_upload(**name, UploadId=begun["UploadId"], MultipartUpload=named)
    return [answer.get("ServerSideEncryption") for answer in (begun, part, made)]


@pytest.mark.semantics("R-1", "Q-4")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_pending_object_shows_the_encryption_that_its_bucket_gives_it(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    remote.client().put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, **AWAY)
    daemon.warm(bucket)
    relayed.set(mode="refuse")
    s3 = daemon.client()
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    assert header_of(put, "x-s3d-durability") == "local"
    pending = [one["ServerSideEncryption"] for one in (put, s3.head_object(Bucket=bucket, Key="k"))]
    # As S3 documents it; MinIO says so of the part alone.
    assert encryption_of_upload(s3, bucket) == ["AES256"] * 3
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    there = remote.client().head_object(Bucket=bucket, Key="k")
    assert {*pending, there["ServerSideEncryption"]} == {"AES256"}
    assert there["ETag"] == put["ETag"]
    s3.delete_bucket_encryption(Bucket=bucket)
    assert "ServerSideEncryption" not in s3.put_object(Bucket=bucket, Key="k", Body=b"abc")


@pytest.mark.semantics("R-1", "R-4", "Q-6", "D-1", "D-6", "A-1")
@stores
def test_a_form_is_a_put(away: Away, remote: Remote) -> None:
    daemon, _, bucket = away
    s3, there = daemon.client(), remote.client()
    xml = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    large = data_of(300_000)
    covers = policy(bucket, ["starts-with", "$key", "up/"], ["starts-with", "$x-amz-meta-a", ""],
                    ["eq", "$Content-Type", "text/x"], ["starts-with", "$tagging", ""], ["content-length-range", 1, 300_000])  # fmt: skip  # noqa: E501
    said = {"x_amz_meta_a": "1", "Content_Type": "text/x", "tagging": xml}
    status, headers, _ = post(daemon, bucket, large, key="up/${filename}", **said, **covers)
    assert (status, headers["x-s3d-durability"]) == (204, "local")
    assert headers["etag"] == f'"{hashlib.md5(large).hexdigest()}"'
    status, headers, document = post(daemon, bucket, b"x", key="k&1", acl="private", success_action_status="201")
    assert (status, headers["x-s3d-durability"]) == (201, "local")
    for element in (f"<Bucket>{bucket}</Bucket>", "<Key>k&amp;1</Key>", f"/{bucket}/k%261</Location>"):
        assert element in document.decode()
    assert post(daemon, bucket, b"x", key="k2", success_action_status="200")[0] == 200
    there_to = "http://127.0.0.1/done?a=b"
    status, headers, _ = post(daemon, bucket, b"x", key="k 3", success_action_redirect=there_to)
    etag = hashlib.md5(b"x").hexdigest()
    assert (status, headers["location"]) == (303, f"{there_to}&bucket={bucket}&key=k%203&etag=%22{etag}%22")

    def state(client: Any, key: str) -> tuple[Any, ...]:
        got = client.get_object(Bucket=bucket, Key=key)
        return got["Body"].read(), got["ContentType"], got["Metadata"], tags_of(client, bucket, key)

    keys = ["up/f.txt", "k&1", "k2", "k 3"]
    before = [state(s3, key) for key in keys]
    assert before[0] == (large, "text/x", {"a": "1"}, [("a", "1")])
    assert [data for data, *_ in before[1:]] == [b"x"] * 3
    come_back(away)
    assert [state(there, key) for key in keys] == before


REFUSED_FORMS: list[tuple[dict[str, str], str]] = [
    ({}, "InvalidArgument"),
    ({"key": "k", "signature": "s"}, "InvalidArgument"),
    ({"key": "k", "policy": "e30="}, "InvalidArgument"),
    ({"key": "k", "policy": "e30=", "signature": "s"}, "InvalidPolicyDocument"),
    ({"key": "k", **policy("{bucket}", {"key": "other"})}, "AccessDenied"),
    ({"key": "k", **policy("{bucket}", {"key": "k"}, expiration="2020-01-01T00:00:00Z")}, "AccessDenied"),
    ({"key": "k", "x_amz_meta_a": "1", **policy("{bucket}", {"key": "k"})}, "AccessDenied"),
    ({"key": "k", **policy("{bucket}", {"key": "k"}, ["content-length-range", 0, 2])}, "EntityTooLarge"),
    ({"key": "k", **policy("{bucket}", {"key": "k"}, ["content-length-range", 4, 9])}, "EntityTooSmall"),
    ({"key": "k", "content_md5": base64.b64encode(bytes(16)).decode()}, "BadDigest"),
    ({"key": "k", "x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"),
    ({"key": "k", "tagging": "<Tagging>"}, "MalformedXML"),
    ({"key": "k" * 1025}, "KeyTooLongError"),
    ({"key": "k" * 30_000}, "MaxPostPreDataLengthExceededError"),
]


@pytest.mark.semantics("A-1", "Q-5", "Q-15")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_form_that_says_too_much_or_too_little_leaves_nothing(away: Away) -> None:
    daemon, _, bucket = away
    for fields, code in REFUSED_FORMS:
        if "policy" in fields:
            document = base64.b64decode(fields["policy"]).replace(b"{bucket}", bucket.encode())
            fields = {**fields, "policy": base64.b64encode(document).decode()}  # noqa: PLW2901
        status, _, answer = post(daemon, bucket, b"abc", **fields)
        assert f"<Code>{code}</Code>" in answer.decode(), fields
        assert status == (403 if code == "AccessDenied" else 400)
    form = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--x--\r\n'
    headers = {"Content_Type": "multipart/form-data; boundary=x"}
    assert b"exactly one file" in raw(daemon, "POST", f"/{bucket}", form, **headers)[2]
    assert raw(daemon, "POST", f"/{bucket}/k", form, **headers)[0] == 405
    assert raw(daemon, "POST", f"/{bucket}?new", form, **headers)[0] == 501
    assert raw(daemon, "POST", f"/{bucket}", form, x_amz_acl="private", **headers)[0] == 501
    assert daemon.status()["pending"]["changes"] == 0


@pytest.mark.semantics("Q-14", "R-4")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_form_to_a_bucket_with_versions_is_a_signed_put(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    versions = {"Status": "Enabled"}
    remote.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versions)
    daemon = start_daemon(remote)
    status, headers, _ = post(daemon, bucket, data_of(300_000), key="k")
    assert (status, headers["x-s3d-durability"]) == (204, "remote")
    there = remote.client().get_object(Bucket=bucket, Key="k")
    assert there["Body"].read() == data_of(300_000)
    assert headers["x-amz-version-id"] == there["VersionId"]
    assert not [path for path in (daemon.local_dir / "queue" / "bodies").glob("*") if path.is_file()]


@pytest.mark.semantics("A-1", "R-4")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_form_is_a_put_where_there_is_no_queue(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE="false")
    covers = policy(bucket, ["starts-with", "$key", "up/"], ["content-length-range", 1, 300_000])
    etag = f'"{hashlib.md5(data_of(300_000)).hexdigest()}"'
    status, headers, _ = post(daemon, bucket, data_of(300_000), key="up/${filename}", **covers)
    assert (status, headers["etag"]) == (204, etag)
    assert remote.client().get_object(Bucket=bucket, Key="up/f.txt")["Body"].read() == data_of(300_000)
    for key, size, code in [
        ("other", 1, "AccessDenied"),
        ("up/0", 0, "EntityTooSmall"),
        ("up/1", 300_001, "EntityTooLarge"),
    ]:
        assert f"<Code>{code}</Code>" in post(daemon, bucket, data_of(size), key=key, **covers)[2].decode()
    assert post(daemon, f"no-{bucket}", b"x", key="k")[0] == 404
    assert [o["Key"] for o in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["up/f.txt"]


@pytest.mark.semantics("Q-14")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_form_with_a_clients_key_is_not_stored_here(daemon: Daemon, remote: Remote, bucket: str) -> None:
    bodies = daemon.local_dir / "queue" / "bodies"
    key = b"0123456789abcdef0123456789abcdef"
    named = {
        "x_amz_server_side_encryption_customer_algorithm": "AES256",
        "x_amz_server_side_encryption_customer_key": base64.b64encode(key).decode(),
        "x_amz_server_side_encryption_customer_key_MD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }
    before = bodies.stat().st_mtime_ns
    status, headers, _ = post(daemon, bucket, data_of(300_000), key="k", **named)
    assert (status, headers["x-s3d-durability"]) == (204, "remote")
    assert bodies.stat().st_mtime_ns == before
    there = remote.client().get_object(Bucket=bucket, Key="k", SSECustomerAlgorithm="AES256", SSECustomerKey=key)
    assert there["Body"].read() == data_of(300_000)
    assert post(daemon, bucket, data_of(300_000), key="k")[0] == 204
    assert bodies.stat().st_mtime_ns != before


@pytest.mark.semantics("R-1", "R-1a")
@pytest.mark.parametrize("remote", ["moto", "minio"], indirect=True)
def test_attributes_of_a_pending_put_are_those_of_the_remote(away: Away, remote: Remote) -> None:
    daemon, _, bucket = away
    s3, there = daemon.client(), remote.client()
    unsummed = daemon.client(request_checksum_calculation="when_required")
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    unsummed.put_object(Bucket=bucket, Key="unsummed", Body=b"abc")
    wanted = ["ETag", "ObjectSize", "StorageClass"]
    summed = [*wanted, "Checksum"] if remote.name == "minio" else wanted
    before = attributes_of(s3, bucket, "k", summed)
    assert before["ETag"] == hashlib.md5(b"abc").hexdigest()
    assert attributes_of(s3, bucket, "unsummed", wanted)["ObjectSize"] == 3
    only = {"Bucket": bucket, "Key": "unsummed", "ObjectAttributes": ["Checksum"]}
    assert code_of(s3.get_object_attributes, **only) == "SlowDown"
    s3.delete_object(Bucket=bucket, Key="gone")
    assert code_of(s3.get_object_attributes, Bucket=bucket, Key="gone", ObjectAttributes=["ETag"]) == "NoSuchKey"
    come_back(away)
    assert attributes_of(there, bucket, "k", summed) == before


def attributes_of(s3: Any, bucket: str, key: str, wanted: list[str]) -> dict[str, Any]:
    answer = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=wanted)
    answer.pop("LastModified")
    answer.pop("ResponseMetadata")
    return dict(answer)
