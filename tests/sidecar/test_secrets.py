"""Secrets of the remote and of clients are nowhere but in the process: not in logs, metrics, pages, status, errors,
arguments or files."""

import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.daemons import StartDaemon, eventually
from tests.processes import running, start
from tests.remotes import Remote

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
CUSTOMER_KEY = "a-customers-own-key-of-32-bytes!"
"""For SSE-C: the remote encrypts with it, and forgets it."""


@pytest.mark.usefixtures("executed")
@pytest.mark.semantics("A-5")
def test_a_secret_appears_nowhere(remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_LOG_LEVEL="debug", **keys)
    shown = [Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()]
    s3 = daemon.client()
    asks = (
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"1"),
        lambda: s3.get_object(Bucket=bucket, Key="other"),
        s3.list_buckets,
        lambda: s3.put_object(
            Bucket=bucket, Key="c", Body=b"1", SSECustomerAlgorithm="AES256", SSECustomerKey=CUSTOMER_KEY
        ),
    )
    # Keys that the store does not know are refused, and each place that tells of a refusal does.
    for ask in asks:
        try:
            ask()
        except ClientError as error:
            shown.append(repr(error.response).encode())
    presigned = daemon.client(signature_version="s3v4").generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "k2"}
    )
    signature = parse_qs(urlsplit(presigned).query)["X-Amz-Signature"][0]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(presigned, timeout=60)
    shown.append(refused.value.read())
    for path in ("", "metrics", "status", "healthz", "readyz", "nowhere"):
        try:
            with urllib.request.urlopen(f"{daemon.metrics_endpoint}/{path}", timeout=10) as answer:
                shown.append(answer.read())
        except urllib.error.HTTPError as error:
            shown.append(error.read())
    for words in (["status"], ["status", bucket], ["status", f"{bucket}/k"], ["queue", "list"], ["run", "--check"]):
        done = daemon.cli(*words)
        shown += [done.stdout, done.stderr]
    page = tmp_path / "ui.log"
    with running(start([sys.executable, "-m", "s3d.cli", "ui"], page, daemon.environment)):
        eventually(lambda: page.read_text().endswith("\n"))
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with browser.open(page.read_text().strip(), timeout=60) as answer:
            shown.append(answer.read())
    daemon.terminate()
    shown.append(daemon.log.read_bytes())
    shown += [path.read_bytes() for path in daemon.local_dir.rglob("*") if path.is_file()]
    for secret in (SECRET, TOKEN, CUSTOMER_KEY, b64encode(CUSTOMER_KEY.encode()).decode(), signature):
        assert [place[:200] for place in shown if secret.encode() in place] == []
