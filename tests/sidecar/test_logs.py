"""The log of a daemon: what is in it, what never is, and that nobody waits for whoever reads it."""

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from s3d.logs import JsonLines, Text, scrub
from tests.daemons import Daemon, StartDaemon, eventually
from tests.remotes import Remote

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PLANTED = [
    "GET /b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={}&X-Amz-Date=1",
    "https://b.example/k?AWSAccessKeyId=AKIA&Signature={}&Expires=1",
    "X-Amz-Security-Token%3D{}",
    "{{'x-amz-security-token': '{}', 'host': 'h'}}",
    "x-amz-server-side-encryption-customer-key: {}",
    "x-amz-copy-source-server-side-encryption-customer-key: {}",
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/1/eu/s3/aws4_request, SignedHeaders=host, Signature={}",
    "Authorization: AWS AKIA:{}",
    "authorization: Bearer {}",
    "aws_secret_access_key = {}",
    "<SecretAccessKey>{}</SecretAccessKey><SessionToken>x</SessionToken>",
    "AWS_SESSION_TOKEN={}",
    '{{"SecretAccessKey": "{}", "Token": ""}}',
    "http://user:{}@proxy.example:3128/",
]
HARMLESS = [
    "secretAccessKey is empty",
    "SignatureDoesNotMatch: the request signature we calculated does not match",
    "x-amz-server-side-encryption-customer-key-MD5: abc",
    "photos/a@b.jpg of http://127.0.0.1:9000",
    "basic tests of a bearer bond",
]


def record(text: str, **extra: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "s3d", "levelname": "INFO", "levelno": logging.INFO, "msg": text, **extra})


@pytest.mark.semantics("A-5")
@pytest.mark.parametrize("text", PLANTED)
@pytest.mark.parametrize("formatter", [Text(), JsonLines()], ids=["text", "json"])
def test_what_a_name_says_to_be_secret_is_in_no_entry(formatter: logging.Formatter, text: str) -> None:
    planted = text.format(SECRET)
    assert SECRET not in formatter.format(record(planted))
    error = RuntimeError(planted)
    assert SECRET not in formatter.format(record("a bug", exc_info=(type(error), error, None)))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert scrub(text) == text


def test_an_entry_that_cannot_be_written_fails_nobody(daemon: Daemon) -> None:
    program = "import logging, s3d.logs, s3d.settings as s\n"
    program += "journal = s3d.logs.set_up(s.Gateway(), print)\n"
    program += "logging.info('%d', 'no number')\njournal.flush(60)"
    environment = {"PYTHONPATH": daemon.environment["PYTHONPATH"], "HOME": "/"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)
    assert "a log entry of root cannot be written" in done.stderr


def access_lines(daemon: Daemon) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in daemon.output().splitlines()]
    return [entry for entry in entries if entry["logger"] == "s3d.access"]


@pytest.mark.semantics("O-2")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_requests_are_logged_as_it_is_set_and_without_their_queries(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text("{}")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_CONFIG_DIR=str(tmp_path), S3D_ACCESS_LOG="errors")
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="a b", Body=b"123")
    for headers in ({"Host": "elsewhere.example"}, {}):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
        connection.request("GET", f"/{bucket}/a%20b?X-Amz-Signature=planted&X-Amz-Expires=1", headers=headers)
        assert connection.getresponse().status in (400, 403)
        connection.close()
    eventually(lambda: len(access_lines(daemon)) == 2)
    assert {line["status"] for line in access_lines(daemon)} <= {400, 403}

    settings.write_text(json.dumps({"S3D_ACCESS_LOG": "all"}))
    eventually(lambda: "settings reloaded: S3D_ACCESS_LOG" in daemon.output())
    assert s3.get_object(Bucket=bucket, Key="a b")["Body"].read() == b"123"
    eventually(lambda: len(access_lines(daemon)) == 3)
    line = access_lines(daemon)[-1]
    told = {name: line[name] for name in ("method", "path", "operation", "status", "sent")}
    assert told == {"method": "GET", "path": f"/{bucket}/a b", "operation": "GetObject", "status": 200, "sent": 3}
    assert line["source"] in ("queue", "remote")
    assert "planted" not in daemon.output()


@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_the_level_is_changed_while_the_daemon_runs(daemon: Daemon) -> None:
    assert daemon.cli("log", "level", "error").returncode == 0
    assert daemon.ask("/log?level=error", "POST") == {"level": "error"}
    before = daemon.output()
    daemon.terminate()
    assert daemon.output() == before, "no entry of a lower level"


@pytest.mark.semantics("O-1", "O-3a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_requests_are_answered_and_the_end_comes_while_nobody_reads_the_log(
    remote: Remote, bucket: str, tmp_path: Path
) -> None:
    daemon = Daemon(tmp_path, {**remote.environment, "S3D_BUCKETS": bucket, "S3D_ACCESS_LOG": "all"})
    out, into = os.pipe()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **daemon.environment}
    process = subprocess.Popen([sys.executable, "-m", "s3d.cli", "run"], env=environment, stderr=into)
    os.close(into)
    try:
        eventually(lambda: is_open(daemon))
        with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)) as connection:
            for _ in range(6000):
                connection.request("GET", "/", headers={"Host": "elsewhere.example"})
                answer = connection.getresponse()
                assert answer.status == 403
                answer.read()
        with closing(socket.create_connection(("127.0.0.1", daemon.port), timeout=30)) as raw:
            raw.sendall(b"NONSENSE\r\n\r\n")
            assert raw.recv(1 << 16).split(b" ")[1] == b"400"
        # A request is counted when the last byte of its answer is out.
        counted = 's3d_requests_total{code="403",operation="unknown",source="door"} 6000.0'
        eventually(lambda: counted in metrics_of(daemon))
        eventually(lambda: counted.replace("403", "400").replace("6000.0", "1.0") in metrics_of(daemon))
        shown = metrics_of(daemon)
        (dropped,) = [line for line in shown.splitlines() if line.startswith('s3d_log_dropped_total{reason="full"}')]
        assert float(dropped.split()[1]) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(out)


def metrics_of(daemon: Daemon) -> str:
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def is_open(daemon: Daemon) -> bool:
    try:
        with urllib.request.urlopen(f"{daemon.metrics_endpoint}/readyz", timeout=30) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
