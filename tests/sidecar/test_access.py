"""A door with access keys (SEMANTICS A-2): who comes in, who does not, and that a refusal costs nobody anything."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import urllib.error
import urllib.request
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from multidict import CIMultiDict

from s3d.protocol import sigv4
from tests.clients import code_of, data_of, raw
from tests.constants import HURRIED
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.remotes import REGION, Remote, client

pytestmark = [
    pytest.mark.server,
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
]

SECRETS = {"app": "an-apps-secret", "report": "reading-only", "sales": "one-bucket-only", "turning": "the-new-secret"}
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def entries(bucket: str) -> list[dict[str, Any]]:
    return [
        {"id": "app", "secret": SECRETS["app"]},
        {"id": "report", "secret": SECRETS["report"], "readOnly": True},
        {"id": "sales", "secret": SECRETS["sales"], "buckets": [bucket]},
        {"id": "turning", "secrets": [SECRETS["turning"], "the-old-secret"]},
    ]


@dataclass
class Guarded:
    """A daemon with access keys, and the file that they are in."""

    daemon: Daemon
    file: Path
    bucket: str

    def client(self, key: str = "app", secret: str = "", **config: Any) -> Any:
        # boto3 signs URLs and forms by version 2 unless it is told otherwise.
        return client(self.daemon.endpoint, key, secret or SECRETS[key], **{"signature_version": "s3v4", **config})

    def write(self, keys: Any, mode: int = 0o600) -> None:
        """Put the file in its place, whole."""
        part = self.file.with_suffix(".part")
        part.write_text(keys if isinstance(keys, str) else json.dumps(keys))
        part.chmod(mode)
        part.replace(self.file)

    def signed(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        key: str = "app",
        secret: str = "",
        payload: str = EMPTY,
        now: datetime | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, str]:
        """The headers of a request by hand."""
        said: CIMultiDict[str] = CIMultiDict({"Host": urlsplit(self.daemon.endpoint).netloc})
        said.update(headers)
        sigv4.sign(
            method=method,
            path=path,
            query=query,
            headers=said,
            payload_hash=payload,
            access_key=key,
            secret_key=secret or SECRETS[key],
            token=None,
            region=REGION,
            now=now or datetime.now(UTC),
        )
        return dict(said)


@pytest.fixture
def guarded(start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path) -> Guarded:
    """A daemon with keys. What it takes stays with it: nothing is pushed."""
    return guard(start_daemon, remote, bucket, tmp_path, S3D_WRITE_QUEUE_DELAY="1h")


@pytest.fixture
def pushing(start_daemon: StartDaemon, remote: Remote, bucket: str, tmp_path: Path) -> Guarded:
    """The same, and all is pushed."""
    return guard(start_daemon, remote, bucket, tmp_path)


def guard(start_daemon: StartDaemon, remote: Remote, bucket: str, directory: Path, **settings: str) -> Guarded:
    file = directory / "keys.json"
    file.write_text(json.dumps(entries(bucket)))
    file.chmod(0o600)
    daemon = start_daemon(remote, S3D_ACCESS_KEYS_FILE=str(file), S3D_BUCKETS=bucket, **HURRIED, **settings)
    return Guarded(daemon, file, bucket)


def code_in(document: bytes) -> str:
    return document.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


@pytest.mark.semantics("A-2")
def test_a_stock_client_with_a_key_does_all_it_does(pushing: Guarded, remote: Remote) -> None:
    s3, bucket = pushing.client(), pushing.bucket
    data = data_of(6 << 20)
    s3.put_object(Bucket=bucket, Key="a b/\u00e9+%2F", Body=b"odd", Metadata={"x": "a  b"}, Tagging="k=v")
    s3.put_object(Bucket=bucket, Key="checked", Body=data, ChecksumAlgorithm="SHA256")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(**named, PartNumber=n, Body=body)["ETag"]}
        for n, body in ((1, data), (2, b"end"))
    ]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "checked"})
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})
    assert s3.get_object(Bucket=bucket, Key="parts", Range="bytes=10-19")["Body"].read() == data[10:20]
    page = s3.list_objects_v2(Bucket=bucket, Prefix="a b/", Delimiter="|")
    assert [item["Key"] for item in page["Contents"]] == ["a b/\u00e9+%2F"]
    eventually(lambda: drained(pushing.daemon))
    there = remote.client()
    assert there.get_object(Bucket=bucket, Key="parts")["Body"].read() == data + b"end"
    assert there.get_object(Bucket=bucket, Key="checked")["Body"].read() == data


@pytest.mark.semantics("A-2")
def test_a_presigned_url_is_taken_while_it_holds_and_for_nothing_else(guarded: Guarded) -> None:
    s3, named = guarded.client(), {"Bucket": guarded.bucket, "Key": "k"}
    put = s3.generate_presigned_url("put_object", Params={**named, "ContentType": "text/plain"}, ExpiresIn=60)
    get = s3.generate_presigned_url("get_object", Params=named, ExpiresIn=60)

    def ask(method: str, url: str, data: bytes | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(url, data, {"Content-Type": "text/plain"}, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, code_in(error.read()).encode()

    assert ask("PUT", put, b"text")[0] == 200
    assert ask("GET", get) == (200, b"text")
    assert ask("DELETE", get) == (403, b"SignatureDoesNotMatch")
    assert ask("GET", get.replace("/k?", "/other?")) == (403, b"SignatureDoesNotMatch")
    assert ask("GET", get.replace("Expires=60", "Expires=61")) == (403, b"SignatureDoesNotMatch")
    assert ask("GET", get + "&response-content-type=x") == (403, b"SignatureDoesNotMatch")


def form(fields: dict[str, str], data: bytes) -> tuple[bytes, str]:
    """A form with a file, and its Content-Type."""
    boundary = uuid.uuid4().hex
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    whole = "".join(lines).encode() + head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return whole, f"multipart/form-data; boundary={boundary}"


@pytest.mark.semantics("A-2")
def test_a_form_is_taken_by_the_signature_of_its_policy(guarded: Guarded) -> None:
    daemon, bucket = guarded.daemon, guarded.bucket
    data = data_of(300_000)

    def post(key: str, secret: str = "", **changed: str) -> tuple[int, str]:
        said = guarded.client(key, secret).generate_presigned_post(bucket, "posted")["fields"]
        body, kind = form({**said, **changed}, data)
        status, _, document = raw(daemon, "POST", f"/{bucket}", body, Content_Type=kind)
        return status, code_in(document)

    assert post("app", "not-its-secret") == (403, "SignatureDoesNotMatch")
    assert post("report") == (403, "AccessDenied")
    body, kind = form({"key": "posted"}, data)
    status, _, document = raw(daemon, "POST", f"/{bucket}", body, Content_Type=kind)
    assert (status, code_in(document)) == (403, "AccessDenied")
    assert daemon.status()["pending"]["changes"] == 0
    assert post("app")[0] == 204
    assert guarded.client().get_object(Bucket=bucket, Key="posted")["Body"].read() == data


def chained(
    guarded: Guarded, path: str, blocks: list[bytes], trailer: str, **headers: str
) -> tuple[bytes, dict[str, str]]:
    """A body that is signed chunk by chunk, with its headers; `trailer` is the checksum behind it."""
    name = "x-amz-checksum-crc32"
    said = guarded.signed(
        "PUT",
        path,
        payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        headers={
            "Content-Encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(sum(map(len, blocks))),
            "x-amz-trailer": name,
            **headers,
        },
    )
    date = said["x-amz-date"]
    scope = f"{date[:8]}/{REGION}/s3/aws4_request"
    key = sigv4.signing_key(SECRETS["app"], date[:8], REGION, "s3")
    signature = said["Authorization"].rpartition("=")[2]
    body = b""
    for block in [*blocks, b""]:
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{signature}\n{EMPTY}\n{hashlib.sha256(block).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        body += f"{len(block):x};chunk-signature={signature}\r\n".encode() + block + (b"\r\n" if block else b"")
    lines = f"{name}:{trailer}"
    digest = hashlib.sha256(f"{lines}\n".encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{signature}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return body + f"{lines}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode(), said


@pytest.mark.semantics("A-2")
@pytest.mark.parametrize("goes", ["queued", "through"])
def test_a_chain_of_chunks_is_verified_to_its_end(guarded: Guarded, remote: Remote, goes: str) -> None:
    blocks = [data_of(70_000, 1), data_of(9000, 2)]
    data = b"".join(blocks)
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    path = f"/{guarded.bucket}/chained"
    # A condition is the remote's to judge.
    headers = {"If-None-Match": "*"} if goes == "through" else {}
    body, said = chained(guarded, path, blocks, checksum, **headers)
    end = body.rindex(blocks[1]) + len(blocks[1])
    wrong = {
        "a byte of the first chunk": body[:1000] + bytes([body[1000] ^ 1]) + body[1001:],
        "a byte of the last chunk": body[: end - 1] + bytes([body[end - 1] ^ 1]) + body[end:],
        "the signature of the trailer": body[:-5] + bytes([body[-5] ^ 1]) + body[-4:],
        "another chain": chained(guarded, path + "2", blocks, checksum)[0],
    }
    for changed in wrong.values():
        status, _, document = raw(guarded.daemon, "PUT", path, changed, **said)
        assert (status, code_in(document)) == (403, "SignatureDoesNotMatch")
    assert guarded.daemon.status()["pending"]["changes"] == 0
    assert code_of(remote.client().head_object, Bucket=guarded.bucket, Key="chained") == "404"
    assert raw(guarded.daemon, "PUT", path, body, **said)[0] == 200
    assert guarded.client().get_object(Bucket=guarded.bucket, Key="chained")["Body"].read() == data


HELLO = hashlib.sha256(b"hello").hexdigest()
# What is signed, what the request says beside it, and the answer.
REFUSED: dict[str, tuple[dict[str, Any] | None, dict[str, str], int, str]] = {
    "unsigned": (None, {}, 403, "AccessDenied"),
    "a wrong secret": ({"secret": "another-secret"}, {}, 403, "SignatureDoesNotMatch"),
    "an unknown key": ({"key": "nobody", "secret": "another-secret"}, {}, 403, "InvalidAccessKeyId"),
    "an old date": ({"now": datetime(2020, 1, 1, tzinfo=UTC)}, {}, 403, "RequestTimeTooSkewed"),
    "a header that is not signed": ({}, {"x-amz-meta-a": "1"}, 403, "AccessDenied"),
    "a header that was changed": (
        {"headers": {"x-amz-meta-a": "1"}},
        {"x-amz-meta-a": "2"},
        403,
        "SignatureDoesNotMatch",
    ),
    "another object": ({"path": "/another/k"}, {}, 403, "SignatureDoesNotMatch"),
    "version 2": (None, {"Authorization": "AWS app:c2lnbmF0dXJl"}, 400, "InvalidRequest"),
    "a session token": ({}, {"x-amz-security-token": "token"}, 400, "InvalidToken"),
    "a key that may only read": ({"key": "report"}, {}, 403, "AccessDenied"),
}


@pytest.mark.semantics("A-2")
def test_what_is_refused_is_refused_before_its_body_and_leaves_nothing(guarded: Guarded) -> None:
    daemon, path = guarded.daemon, f"/{guarded.bucket}/k"
    address = urlsplit(daemon.endpoint)
    found = {}
    for case, (signing, said, _, _) in REFUSED.items():
        headers = {"Host": address.netloc, "Content-Length": "5", "Expect": "100-continue"}
        if signing is not None:
            headers |= guarded.signed("PUT", **{"path": path, "payload": HELLO, **signing})
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            lines = "".join(f"{name}: {value}\r\n" for name, value in (headers | said).items())
            connection.sendall(f"PUT {path} HTTP/1.1\r\n{lines}\r\n".encode())
            answer = connection.makefile("rb").read()
        # The first line that comes: no 100 Continue is before it.
        found[case] = (int(answer.split()[1]), code_in(answer))
    assert found == {case: (status, code) for case, (_, _, status, code) in REFUSED.items()}
    assert daemon.status()["pending"]["changes"] == 0
    page = urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics").read().decode()
    counted = Counter("other" if code == "InvalidRequest" else code for *_, code in REFUSED.values())
    assert [name for name, n in counted.items() if f's3d_auth_total{{result="{name}"}} {n}.0' not in page] == []


@pytest.mark.semantics("A-2")
def test_a_body_that_is_not_the_signed_one_is_not_taken(guarded: Guarded) -> None:
    path = f"/{guarded.bucket}/k"
    status, _, document = raw(guarded.daemon, "PUT", path, b"jello", **guarded.signed("PUT", path, payload=HELLO))
    assert (status, code_in(document)) == (400, "XAmzContentSHA256Mismatch")
    assert guarded.daemon.status()["pending"]["changes"] == 0
    assert raw(guarded.daemon, "PUT", path, b"hello", **guarded.signed("PUT", path, payload=HELLO))[0] == 200


@pytest.mark.semantics("A-2c")
def test_what_a_key_may_do_is_what_its_entry_says(guarded: Guarded) -> None:
    bucket = guarded.bucket
    guarded.client().put_object(Bucket=bucket, Key="k", Body=b"1")
    reader, sales = guarded.client("report"), guarded.client("sales")
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert code_of(reader.delete_object, Bucket=bucket, Key="k") == "AccessDenied"
    sales.put_object(Bucket=bucket, Key="k2", Body=b"2")
    assert code_of(sales.list_buckets) == "AccessDenied"
    source = {"Bucket": "another", "Key": "k"}
    assert code_of(sales.copy_object, Bucket=bucket, Key="k3", CopySource=source) == "AccessDenied"
    assert guarded.daemon.status()["pending"]["changes"] == 2


@pytest.mark.semantics("A-2")
def test_an_unsigned_request_reads_where_the_file_says_so(guarded: Guarded) -> None:
    bucket = guarded.bucket
    guarded.client().put_object(Bucket=bucket, Key="k", Body=b"1")
    assert raw(guarded.daemon, "GET", f"/{bucket}/k")[0] == 403
    guarded.write([*entries(bucket), {"anonymous": True, "buckets": [bucket]}])
    eventually(lambda: raw(guarded.daemon, "GET", f"/{bucket}/k")[2] == b"1")
    assert raw(guarded.daemon, "PUT", f"/{bucket}/k", b"2")[0] == 403
    assert raw(guarded.daemon, "GET", "/another/k")[0] == 403
    # A page of another site that has made a name of its own point here cannot use that.
    assert raw(guarded.daemon, "GET", f"/{bucket}/k", Host="rebind.example")[0] == 403


@pytest.mark.semantics("A-3")
def test_a_door_whose_callers_all_sign_answers_to_every_name(guarded: Guarded) -> None:
    path = f"/{guarded.bucket}"
    headers = guarded.signed("GET", path, query="list-type=2", headers={"Host": "gateway.example"})
    assert raw(guarded.daemon, "GET", f"{path}?list-type=2", None, **headers)[0] == 200


@pytest.mark.semantics("A-2a")
def test_rotation_under_load_fails_no_request(guarded: Guarded) -> None:
    daemon, bucket = guarded.daemon, guarded.bucket
    old, new = (guarded.client("turning", secret, max_pool_connections=8) for secret in ("the-old-secret", "the-next"))
    current, failed, done = [old], [], threading.Event()
    moved = threading.Barrier(9, timeout=60)

    def work(number: int) -> None:
        count, seen = 0, old
        while not done.is_set():
            s3 = current[0]
            if s3 is not seen:
                seen = s3
                moved.wait()
            count += 1
            try:
                s3.put_object(Bucket=bucket, Key=f"{number}", Body=str(count).encode())
            except ClientError as error:
                failed.append(error)

    def turn(secrets: list[str]) -> None:
        before = daemon.output().count("access keys reloaded")
        guarded.write([*entries(bucket)[:3], {"id": "turning", "secrets": secrets}])
        eventually(lambda: daemon.output().count("access keys reloaded") > before)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        turn(["the-next", "the-old-secret"])
        current[0] = new
        moved.wait()
        turn(["the-next"])
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert code_of(old.list_objects_v2, Bucket=bucket) == "SignatureDoesNotMatch"


@pytest.mark.semantics("A-2b")
def test_a_file_that_becomes_wrong_leaves_the_keys_as_they_were_and_is_told(guarded: Guarded) -> None:
    daemon, s3 = guarded.daemon, guarded.client()
    right = entries(guarded.bucket)
    wrong: dict[str, Callable[[], None]] = {
        "Invalid JSON": lambda: guarded.write('[{"id": "app", "secret": "hidden-in-here"'),
        "entry 1: secret: 8 to 128 characters": lambda: guarded.write([{"id": "app", "secret": "hidden"}]),
        "mode 0644 opens it to others": lambda: guarded.write(right, 0o644),
        "cannot be read": guarded.file.unlink,
    }

    def failing() -> bool:
        page = urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics").read()
        return b's3d_reload_failed{file="access_keys"} 1.0' in page

    for said, make in wrong.items():
        make()
        eventually(lambda: said in daemon.status()["files"]["access_keys"]["error"])  # noqa: B023
        assert failing()
        assert urllib.request.urlopen(f"{daemon.metrics_endpoint}/readyz").status == 200
        s3.list_objects_v2(Bucket=guarded.bucket)
    assert daemon.output().count("the last access keys stay") == len(wrong)
    assert "hidden" not in daemon.output()
    guarded.write([{"id": "app", "secret": "a-new-secret"}])
    eventually(lambda: not daemon.status()["files"]["access_keys"]["error"])
    assert not failing()
    assert daemon.status()["access_keys"] == 1
    assert code_of(s3.list_objects_v2, Bucket=guarded.bucket) == "SignatureDoesNotMatch"
    guarded.client(secret="a-new-secret").list_objects_v2(Bucket=guarded.bucket)


@pytest.mark.usefixtures("executed")
@pytest.mark.semantics("A-5")
def test_the_secret_of_a_key_appears_nowhere(guarded: Guarded) -> None:
    daemon = guarded.daemon
    shown = [Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()]
    for key, secret in (("app", SECRETS["app"]), ("app", "not-its-secret")):
        path = f"/{guarded.bucket}/none"
        headers = guarded.signed("GET", path, key=key, secret=secret)
        _, said, document = raw(daemon, "GET", path, None, **headers)
        shown += [document, repr(said).encode()]
    for place in ("metrics", "status"):
        shown.append(urllib.request.urlopen(f"{daemon.metrics_endpoint}/{place}").read())
    for words in (["status"], ["key", "ls"], ["key", "test"], ["run", "--check"]):
        done = daemon.cli(*words)
        shown += [done.stdout, done.stderr]
    daemon.terminate()
    shown.append(daemon.log.read_bytes())
    shown += [path.read_bytes() for path in daemon.local_dir.rglob("*") if path.is_file()]
    for secret in SECRETS.values():
        assert [place[:200] for place in shown if secret.encode() in place] == []
