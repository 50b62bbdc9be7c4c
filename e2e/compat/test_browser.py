"""A page of another origin uses a gateway (SEMANTICS R-12, A-3c): by fetch, in parts, by a form, in an outage too."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from e2e.chaos.authorities import Authority
from e2e.compat.browser import Browser, Refused, opened
from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote, client

PART = 5 << 20
HOSTS = {"cross-site": "localhost", "same-site": "127.0.0.1"}
"""Hosts of a page, by what its browser says of a request to the door, which is 127.0.0.1 on another port."""
ASK = """
const answer = await fetch(url, {method, headers, body, mode});
return {status: answer.status, etag: answer.headers.get("ETag"), at: answer.headers.get("x-s3d-durability"),
        text: await answer.text()};
"""
UPLOAD = """
const tag = (document, name) => document.match(new RegExp(`<${name}>([^<]*)</${name}>`))[1];
const begun = await fetch(url + "?uploads", {method: "POST"});
const upload = "uploadId=" + encodeURIComponent(tag(await begun.text(), "UploadId"));
let parts = "";
for (const [number, size] of [[1, size1], [2, size2]]) {
  const sent = await fetch(`${url}?partNumber=${number}&${upload}`, {method: "PUT", body: "a".repeat(size)});
  parts += `<Part><PartNumber>${number}</PartNumber><ETag>${sent.headers.get("ETag")}</ETag></Part>`;
}
const body = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
const done = await fetch(`${url}?${upload}`, {method: "POST", body});
return {status: done.status, etag: tag(await done.text(), "ETag")};
"""
POST = """
const form = new FormData();
for (const [name, value] of Object.entries(fields)) form.append(name, value);
form.append("file", new Blob([text]));
const answer = await fetch(url, {method: "POST", body: form, mode});
return {status: answer.status, etag: answer.headers.get("ETag")};
"""
ID, SECRET = "S3DTESTKEY", "the/secret+of=a-page"
PRESIGNED_UPLOAD = """
const tag = (document, name) => document.match(new RegExp(`<${name}>([^<]*)</${name}>`))[1];
let parts = "";
for (const [number, url] of urls.entries()) {
  const sent = await fetch(url, {method: "PUT", body: "a".repeat(sizes[number])});
  parts += `<Part><PartNumber>${number + 1}</PartNumber><ETag>${sent.headers.get("ETag")}</ETag></Part>`;
}
const body = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
const done = await fetch(end, {method: "POST", body});
return {status: done.status, etag: tag(await done.text(), "ETag")};
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(params=HOSTS)
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    """A page of another site, and one of another port of the door's own host."""
    with opened(tmp_path, HOSTS[request.param]) as browser:
        yield browser


def ask(browser: Browser, url: str, method: str = "GET", body: str | None = None, **more: Any) -> Any:
    """Fetch, with a header that a preflight is made for."""
    headers = {"x-amz-meta-a": "b"} if body is not None else {}
    return browser.run(ASK, url=url, method=method, body=body, **{"headers": headers, "mode": "cors", **more})


def form_of(remote: Remote, daemon: Daemon, bucket: str, key: str) -> tuple[str, dict[str, str]]:
    """A presigned form."""
    form = daemon.client().generate_presigned_post(Bucket=bucket, Key=key)
    return form["url"], form["fields"]


@pytest.fixture
def gateway(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, browser: Browser
) -> tuple[Daemon, Relayed]:
    """A gateway that lets the page in: by the bucket's rules where its store has any, else by its settings."""
    relayed = relay(remote)
    settings = {"S3D_BUCKETS": bucket, **AWAY}
    if remote.name == "versitygw":
        rule = {
            "AllowedOrigins": [browser.origin],
            "AllowedMethods": ["GET", "PUT", "POST", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag", "x-s3d-durability"],
        }
        remote.client().put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    else:
        settings["S3D_CORS_ORIGINS"] = browser.origin
    daemon = start_daemon(relayed.remote, **settings)
    daemon.warm(bucket)
    return daemon, relayed


@pytest.mark.semantics("R-12", "R-12a", "R-12b", "R-12c", "A-3c")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_page_writes_and_reads_through_the_queue_and_in_an_outage(
    gateway: tuple[Daemon, Relayed], remote: Remote, bucket: str, browser: Browser
) -> None:
    daemon, relayed = gateway
    etags: dict[str, str] = {}
    for when in ("before", "away"):
        if when == "away":
            eventually(lambda: drained(daemon))
            relayed.set(mode="refuse")
            eventually(lambda: code_of(daemon.client().list_buckets) != "")
        url = f"{daemon.endpoint}/{bucket}/{when}"
        put = ask(browser, f"{url}-put", "PUT", f"text {when}")
        assert (put["status"], put["at"]) == (200, "local")
        got = ask(browser, f"{url}-put")
        assert (got["status"], got["text"], got["etag"]) == (200, f"text {when}", put["etag"])
        whole = browser.run(UPLOAD, url=f"{url}-parts", size1=PART, size2=7)
        where, fields = form_of(remote, daemon, bucket, f"{when}-form")
        posted = browser.run(POST, url=where, fields=fields, text=f"form {when}", mode="cors")
        assert (whole["status"], posted["status"]) == (200, 204)
        etags |= {f"{when}-put": put["etag"], f"{when}-parts": whole["etag"], f"{when}-form": posted["etag"]}
    assert ask(browser, f"{daemon.endpoint}/{bucket}/elsewhere")["status"] == 503
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    there = remote.client()
    for key, etag in etags.items():
        assert there.head_object(Bucket=bucket, Key=key)["ETag"].strip('"') == etag.replace("&quot;", "").strip('"')
        got = ask(browser, f"{daemon.endpoint}/{bucket}/{key}")
        assert (got["status"], got["etag"].strip('"')) == (200, etag.replace("&quot;", "").strip('"'))
    assert there.get_object(Bucket=bucket, Key="away-form")["Body"].read() == b"form away"
    assert there.head_object(Bucket=bucket, Key="away-parts")["ContentLength"] == PART + 7
    assert there.head_object(Bucket=bucket, Key="away-put")["Metadata"] == {"a": "b"}


@pytest.mark.semantics("A-3", "A-3a", "R-12")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_page_that_no_rule_names_changes_and_reads_nothing(
    daemon: Daemon, remote: Remote, bucket: str, browser: Browser
) -> None:
    daemon.warm(bucket)
    url = f"{daemon.endpoint}/{bucket}/k"
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"before")
    for method, body in (("PUT", "x"), ("GET", None), ("DELETE", None)):
        with pytest.raises(Refused, match="Failed to fetch"):
            ask(browser, url, method, body)
    with pytest.raises(Refused, match="Failed to fetch"):
        browser.run(UPLOAD, url=url, size1=1, size2=1)
    # What a browser sends without asking: the door refuses it, and the page sees nothing.
    where, fields = form_of(remote, daemon, bucket, "k")
    assert browser.run(POST, url=where, fields=fields, text="form", mode="no-cors") == {"status": 0, "etag": None}
    assert ask(browser, url, mode="no-cors")["text"] == ""
    assert daemon.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"before"
    assert [entry["Key"] for entry in daemon.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def digest_of_key(certificate: str) -> str:
    """The digest of a certificate's key, as Chromium names it."""
    public = x509.load_pem_x509_certificate(Path(certificate).read_bytes()).public_key()
    data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.mark.semantics("A-2", "A-10", "R-12", "R-12a")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_page_uses_what_was_signed_for_it_at_a_door_with_keys_and_tls(
    remote: Remote,
    bucket: str,
    relay: Relay,
    start_daemon: StartDaemon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.certify(days=1)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    keys = tmp_path / "keys.json"
    keys.touch(0o600)
    keys.write_text(json.dumps([{"id": ID, "secret": SECRET}]))
    relayed = relay(remote)
    with opened(tmp_path, HOSTS["cross-site"], digest_of_key(certificate)) as browser:
        tls = {"S3D_TLS_CERT": certificate, "S3D_TLS_KEY": key, "S3D_ACCESS_KEYS_FILE": str(keys)}
        settings = {"S3D_BUCKETS": bucket, "S3D_CORS_ORIGINS": browser.origin, **AWAY, **tls}
        daemon = start_daemon(relayed.remote, **settings)
        signer = client(daemon.endpoint, ID, SECRET, signature_version="s3v4")
        signer.put_object(Bucket=bucket, Key="warm", Body=b"")

        def signed(operation: str, **params: Any) -> str:
            url: str = signer.generate_presigned_url(operation, Params={"Bucket": bucket, **params})
            assert url.startswith("https://")
            return url

        for when in ("before", "away"):
            if when == "away":
                eventually(lambda: drained(daemon))
                relayed.set(mode="refuse")
                eventually(lambda: code_of(signer.list_buckets) != "")
            url = signed("put_object", Key=f"{when}-put")
            put = browser.run(ASK, url=url, method="PUT", body=f"text {when}", headers={}, mode="cors")
            assert (put["status"], put["at"]) == (200, "local")
            got = ask(browser, signed("get_object", Key=f"{when}-put"))
            assert (got["status"], got["text"], got["etag"]) == (200, f"text {when}", put["etag"])
            named = {"Key": f"{when}-parts"}
            named["UploadId"] = signer.create_multipart_upload(Bucket=bucket, **named)["UploadId"]
            urls = [signed("upload_part", PartNumber=number, **named) for number in (1, 2)]
            end = signed("complete_multipart_upload", **named)
            whole = browser.run(PRESIGNED_UPLOAD, urls=urls, sizes=[PART, 7], end=end)
            form = signer.generate_presigned_post(Bucket=bucket, Key=f"{when}-form")
            posted = browser.run(POST, url=form["url"], fields=form["fields"], text=f"form {when}", mode="cors")
            assert (whole["status"], posted["status"]) == (200, 204)
            assert posted["etag"] is not None
        # What is not signed is refused, and the page may read why. So is what was signed for something else.
        plain = f"{daemon.endpoint}/{bucket}/before-put"
        unsigned = ask(browser, plain)
        assert (unsigned["status"], "<Code>AccessDenied</Code>" in unsigned["text"]) == (403, True)
        another = ask(browser, signed("get_object", Key="before-put").replace("before-put", "before-form"))
        assert (another["status"], "<Code>SignatureDoesNotMatch</Code>" in another["text"]) == (403, True)
        assert ask(browser, signed("get_object", Key="elsewhere"))["status"] == 503
        relayed.set(mode="pass")
        eventually(lambda: drained(daemon))
    there = remote.client()
    for when in ("before", "away"):
        assert there.get_object(Bucket=bucket, Key=f"{when}-put")["Body"].read() == f"text {when}".encode()
        assert there.get_object(Bucket=bucket, Key=f"{when}-form")["Body"].read() == f"form {when}".encode()
        assert there.head_object(Bucket=bucket, Key=f"{when}-parts")["ContentLength"] == PART + 7
    assert SECRET not in daemon.output()
