import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from s3d.cli.objects import guess_type
from tests.daemons import Daemon
from tests.sidecar.cli.conftest import Answering, Cli, Response

# A key is bytes: each of these is one of its own, and none may become another on its way.
KEYS = [
    "a//b",
    "a/../b",
    "../b",
    "./x",
    "d/",
    "a b",
    "a+b",
    "a%2Fb",
    "a?b=c&d#e",
    "\u00e9",
    "e\u0301",
    "\u2603",
    "~",
    "a;b",
]
ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>"


def test_a_file_is_stored_as_it_is(cli: Cli, s3: Any, bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(data := os.urandom(300_000))
    # The first write to a bucket is the remote's to judge.
    for durability in ("remote", "local"):
        ran = cli("put", str(path), f"{bucket}/docs/report")
        assert (ran.code, ran.err) == (0, "")
        assert ran.lines == [[f"{bucket}/docs/report", "300000", hashlib.md5(data).hexdigest(), durability]]
    stored = s3.get_object(Bucket=bucket, Key="docs/report")
    assert stored["Body"].read() == data
    assert stored["ContentType"] == "application/pdf"


@pytest.mark.parametrize("size", [0, 1, 9_000_000])
def test_a_pipe_of_unknown_length_is_stored_and_read_back(cli: Cli, bucket: str, size: int) -> None:
    data = os.urandom(size)
    assert cli("put", "-", f"{bucket}/k", stdin=data).code == 0
    ran = cli("get", f"{bucket}/k")
    assert (ran.code, ran.out) == (0, data)


FORMS = [
    ("{key}",),
    ("-", "{key}"),
    ("s3://{key}",),
    ("-t", "text/x", "{key}"),
    ("{key}", "--content-type", "text/x"),
    ("-", "--tag", "a=b", "{key}"),
    ("-t", "text/x", "--", "{key}"),
]


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_on_stdin_is_stored_in_every_form_of_the_command(
    cli: Cli, bucket: str, form: tuple[str, ...]
) -> None:
    ran = cli("put", *(word.format(key=f"{bucket}/a/key") for word in form), stdin=b"through the pipe")
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0][:2] == [f"{bucket}/a/key", "16"]
    assert cli("get", f"{bucket}/a/key").out == b"through the pipe"


@pytest.mark.parametrize("options", [("-t", "text/x"), ("--tag", "a=b", "-m", "c=d"), ("--json",)])
def test_options_may_stand_between_the_file_and_its_target(
    cli: Cli, bucket: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "-file").write_bytes(b"of a file")
    file = str(tmp_path / "-file")
    for words in ((file, *options, f"{bucket}/k"), (*options, file, f"{bucket}/k"), (file, f"{bucket}/k", *options)):
        assert cli("put", *words).code == 0
        assert cli("get", f"{bucket}/k").out == b"of a file"


def test_a_file_on_stdin_is_sent_from_where_it_is_and_needs_no_other(
    s3: Any, gateway: Daemon, bucket: str, tmp_path: Path
) -> None:
    data = os.urandom(9_000_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    environment = {**gateway.environment, "TMPDIR": "/nowhere", "HOME": "/nowhere"}
    command = [sys.executable, "-m", "s3d.cli", "put", f"{bucket}/k"]
    with path.open("rb", buffering=0) as file:
        for already_read in (0, 10, 9_000_000):
            file.seek(already_read)
            ran = subprocess.run(command, stdin=file, env=environment, capture_output=True, check=False)
            assert (ran.returncode, ran.stderr) == (0, b"")
            assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data[already_read:]


def test_a_pipe_that_finds_no_place_for_a_temporary_file_says_what_to_do(
    cli: Cli, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nowhere"])
    monkeypatch.setattr("tempfile.tempdir", None)
    ran = cli("put", f"{bucket}/k", stdin=bytes(9_000_000))
    assert ran.code == 1
    assert "TMPDIR" in ran.err
    assert cli("put", f"{bucket}/k", stdin=bytes(1_000_000)).code == 0


def test_at_a_terminal_a_put_without_a_file_says_what_to_do_instead_of_waiting(gateway: Daemon, bucket: str) -> None:
    master, terminal = os.openpty()
    command = [sys.executable, "-m", "s3d.cli", "put"]
    settings: dict[str, Any] = {"stdin": terminal, "env": gateway.environment, "capture_output": True, "timeout": 30}
    ran = subprocess.run([*command, f"{bucket}/k"], check=False, **settings)
    assert ran.returncode == 2
    assert b"stdin is a terminal" in ran.stderr
    assert f"s3d put FILE {bucket}/k".encode() in ran.stderr
    os.write(master, b"typed\n\x04")
    ran = subprocess.run([*command, "-", f"{bucket}/k"], check=False, **settings)
    assert ran.returncode == 0
    assert b"Ctrl-D" in ran.stderr
    os.close(master)
    os.close(terminal)


WRONG_PUTS = [
    (("{file}",), "is a file: where to is missing", "s3d put {file} BUCKET/KEY"),
    (("bucket",), "names no key", "s3d put BUCKET/KEY < FILE"),
    (("bucket/",), "names no key", "s3d put BUCKET/KEY < FILE"),
    (("-",), "names no key", "s3d put BUCKET/KEY < FILE"),
    (("{file}", "bucket"), "names no key", "s3d put FILE BUCKET/KEY"),
    (("/k",), "names no bucket", "s3d put BUCKET/KEY < FILE"),
    (("bucket/k", "{name}"), "names no key", "the file comes first: s3d put {name} bucket/k"),
]


@pytest.mark.parametrize("words, said, hint", WRONG_PUTS)
def test_a_put_that_cannot_be_meant_sends_nothing_and_says_what_is_missing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str, hint: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    names = {"file": str(tmp_path / "photo.jpg"), "name": "photo.jpg"}
    ran = cli("put", *(word.format(**names) for word in words), stdin=b"data", S3D_ENDPOINT="http://127.0.0.1:1")
    assert ran.code == 2
    assert said in ran.err
    assert hint.format(**names) in ran.err


def test_a_named_pipe_is_a_source(cli: Cli, s3: Any, bucket: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(b"through the pipe",))
    writer.start()
    assert cli("put", str(tmp_path / "fifo"), f"{bucket}/k").code == 0
    writer.join()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"through the pipe"


@pytest.mark.semantics("A-4")
@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_never_normalised(cli: Cli, s3: Any, bucket: str, key: str) -> None:
    assert cli("put", "-", f"{bucket}/{key}", stdin=key.encode()).code == 0
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert [entry["key"] for entry in cli("ls", "-r", "--json", bucket).json] == [key]
    assert cli("get", f"{bucket}/{key}").out == key.encode()
    assert cli("set", f"{bucket}/{key}", "--tag", "a=b").code == 0
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_metadata_tags_and_type_are_stored_with_the_object(cli: Cli, s3: Any, bucket: str) -> None:
    words = (
        "-t",
        "text/x-poem",
        "-m",
        "author=Ada",
        "-m",
        "note=a=b c",
        "--tag",
        "class=public + open",
        "--tag",
        "empty=",
    )
    assert cli("put", "-", f"{bucket}/k", *words, stdin=b"x").code == 0
    stored = s3.head_object(Bucket=bucket, Key="k")
    assert stored["ContentType"] == "text/x-poem"
    assert stored["Metadata"] == {"author": "Ada", "note": "a=b c"}
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"class": "public + open", "empty": ""}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photos/a.JPG", "image/jpeg"),
        ("index.html", "text/html"),
        ("src.tar.gz", "application/gzip"),
        ("src.tar.xz", "application/x-xz"),
        ("a.json/", None),
        ("README", None),
        ("-", None),
    ],
)
def test_the_type_is_guessed_from_the_name(name: str, expected: str | None) -> None:
    assert guess_type(name) == expected


def test_a_file_beyond_a_single_put_is_refused_before_it_is_read(cli: Cli, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate((5 << 30) + 1)
    ran = cli("put", str(tmp_path / "large"), "bucket/k")
    assert ran.code == 1
    assert "hint: an SDK sends it in parts" in ran.err


def test_a_file_that_is_not_there_is_named(cli: Cli) -> None:
    ran = cli("put", "no/such/file", "bucket/k")
    assert (ran.code, ran.err) == (1, "s3d: no/such/file: No such file or directory\n")


@pytest.mark.semantics("Q-5")
def test_a_put_carries_the_digest_of_what_was_read(cli: Cli, answering: Answering, response: Response) -> None:
    refusal = response("400 Bad Request", ERROR % (b"BadDigest", b"The Content-MD5 did not match"))
    with answering(refusal) as door:
        ran = cli("put", "-", "bucket/k", stdin=b"hello", S3D_ENDPOINT=door.url)
    assert b"Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n" in door.requests[0]
    assert door.requests[0].endswith(b"\r\nhello")
    assert ran.code == 1
    assert ran.err.splitlines()[0] == "s3d: BadDigest: The Content-MD5 did not match"


def test_a_large_body_that_the_door_refuses_is_not_sent(cli: Cli, answering: Answering, response: Response) -> None:
    refusal = response("503 Slow Down", ERROR % (b"SlowDown", b"The queue is full"))
    with answering(refusal) as door:
        ran = cli("put", "-", "bucket/k", stdin=bytes(2_000_000), S3D_ENDPOINT=door.url)
    assert b"Expect: 100-continue\r\n" in door.requests[0]
    assert len(door.requests[0]) < 1000
    assert (ran.code, ran.out) == (69, b"")
    assert ran.err.startswith("s3d: SlowDown: The queue is full\nhint: `s3d status`")


def test_a_large_body_is_sent_when_the_door_asks_for_it(cli: Cli, answering: Answering, response: Response) -> None:
    with answering(b"HTTP/1.1 100 Continue\r\n\r\n" + response("200 OK", ETag='"e"')) as door:
        ran = cli("put", "-", "bucket/k", stdin=bytes(2_000_000), S3D_ENDPOINT=door.url)
    assert ran.lines == [["bucket/k", "2000000", "e", "remote"]]
    assert len(door.requests[0]) > 2_000_000


@pytest.mark.semantics("D-6")
def test_the_promise_of_a_put_is_shown(cli: Cli, answering: Answering, response: Response) -> None:
    with answering(response("200 OK", ETag='"e"', **{"x-s3d-durability": "local"})) as door:
        ran = cli("put", "-", "bucket/k", "--json", stdin=b"abc", S3D_ENDPOINT=door.url)
    assert ran.json == [{"bucket": "bucket", "key": "k", "size": 3, "etag": "e", "durability": "local"}]


def test_the_body_goes_to_stdout_and_the_metadata_to_stderr(cli: Cli, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"body", ContentType="text/plain", Metadata={"author": "Ada"})
    ran = cli("get", f"{bucket}/k")
    assert ran.out == b"body"
    shown = ran.err.splitlines()
    assert {"content-type: text/plain", "content-length: 4", "x-amz-meta-author: Ada"} <= set(shown)
    assert not [line for line in shown if line.startswith(("date:", "server:", "connection:"))]
    assert cli("get", "-q", f"{bucket}/k").err == ""


BROKEN = {
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_half_an_object_is_an_error(cli: Cli, answering: Answering, answer: bytes) -> None:
    with answering(answer) as door:
        ran = cli("get", "-q", "bucket/k", S3D_ENDPOINT=door.url)
    assert ran.code == 1
    assert "the answer " in ran.err


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_half_an_object_never_takes_the_place_of_a_file(
    cli: Cli, answering: Answering, answer: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with answering(answer) as door:
        assert cli("get", "-q", "bucket/k", "-o", str(path), S3D_ENDPOINT=door.url).code == 1
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_replaced_and_keeps_its_mode(cli: Cli, s3: Any, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"after")
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    ran = cli("get", f"{bucket}/k", "-o", str(link))
    assert (ran.code, ran.out) == (0, b"")
    assert path.read_text() == "after"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_pipe_is_written_to_and_stays_a_pipe(cli: Cli, s3: Any, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    assert cli("get", f"{bucket}/k", "-o", str(fifo)).code == 0
    reader.join()
    assert received == [b"body"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_buckets_are_listed(cli: Cli, bucket: str) -> None:
    names = [line[1] for line in cli("ls").lines]
    assert bucket in names
    assert bucket in [entry["bucket"] for entry in cli("ls", "--json").json]


def test_a_level_is_listed_as_far_as_the_next_slash(cli: Cli, s3: Any, bucket: str) -> None:
    for key in ("a/1", "a/2/x", "a/2/y", "a/3", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"12345")
    assert [line[1:] for line in cli("ls", bucket).lines] == [["-", "a/"], ["5", "b"]]
    assert [line[1:] for line in cli("ls", f"{bucket}/a/").lines] == [["5", "a/1"], ["-", "a/2/"], ["5", "a/3"]]
    assert [line[2] for line in cli("ls", "-r", f"s3://{bucket}/a/2").lines] == ["a/2/x", "a/2/y"]
    assert cli("ls", "--json", f"{bucket}/a/2").json == [{"prefix": "a/2/"}]
    assert cli("ls", f"{bucket}/none").lines == []


def test_all_pages_are_listed(cli: Cli, answering: Answering, response: Response) -> None:
    page = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>
        <IsTruncated>%s</IsTruncated><NextContinuationToken>%s</NextContinuationToken>
        <Contents><Key>%s</Key><Size>1</Size></Contents></ListBucketResult>"""
    pages = (page % (b"true", b"a+/=&amp;", b"a+b%2B"), page % (b"false", b"", b"b"))
    with answering(*(response("200 OK", page) for page in pages)) as door:
        ran = cli("ls", "--json", "bucket/p q", S3D_ENDPOINT=door.url)
    assert [entry["key"] for entry in ran.json] == ["a b+", "b"]
    assert b"prefix=p%20q" in door.requests[0]
    assert b"continuation-token=a%2B%2F%3D%26" in door.requests[1]


def test_a_name_cannot_end_its_line_or_drive_the_terminal(cli: Cli, answering: Answering, response: Response) -> None:
    page = b"""<ListBucketResult><EncodingType>url</EncodingType>
        <Contents><Key>a%0A%09%1B%5B2J</Key><Size>1</Size></Contents></ListBucketResult>"""
    with answering(response("200 OK", page), response("200 OK", page)) as door:
        plain = cli("ls", "bucket", S3D_ENDPOINT=door.url)
        exact = cli("ls", "--json", "bucket")
    assert plain.lines == [["-", "1", "a\\x0a\\x09\\x1b[2J"]]
    assert exact.json[0]["key"] == "a\n\t\x1b[2J"


def test_tags_are_merged_into_those_that_are_there(cli: Cli, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Tagging="keep=1&change=old&drop=x")
    ran = cli("set", f"{bucket}/k", "--tag", "change=n e+w", "--tag", "empty=", "--untag", "drop", "--untag", "unknown")
    assert ran.code == 0
    assert dict(ran.lines) == {"keep": "1", "change": "n e+w", "empty": ""}
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"keep": "1", "change": "n e+w", "empty": ""}


def test_a_bucket_has_tags_too(cli: Cli, s3: Any, bucket: str) -> None:
    assert cli("set", bucket, "--tag", "team=blue", "--json").json == [
        {"bucket": bucket, "key": "", "tags": {"team": "blue"}}
    ]
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "blue"}]
    assert cli("set", bucket, "--untag", "team").lines == []
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=bucket)


def test_tags_that_do_not_change_are_not_written(cli: Cli, answering: Answering, response: Response) -> None:
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    with answering(response("200 OK", tags)) as door:
        assert cli("set", "bucket/k", "--tag", "a=b", S3D_ENDPOINT=door.url).code == 0
    assert [request.split(b" ")[0] for request in door.requests] == [b"GET"]


def test_an_s3_error_is_one_line_and_a_hint(cli: Cli, bucket: str) -> None:
    ran = cli("ls", f"{bucket}-not")
    assert ran.code == 1
    first, second = ran.err.splitlines()
    assert first.startswith("s3d: NoSuchBucket: ")
    assert second == "hint: `s3d ls` shows the buckets"


ANSWERS = {
    "html": (b"502 Bad Gateway", b"<html><p>nginx</html>", "s3d: HTTP 502: Bad Gateway", 1),
    "nothing": (b"404 Not Found", b"", "s3d: HTTP 404: Not Found", 1),
    "redirect": (b"301 Moved", ERROR % (b"PermanentRedirect", b"elsewhere"), "s3d: PermanentRedirect: elsewhere", 1),
    "away": (b"503 x", ERROR % (b"ServiceUnavailable", b"away"), "s3d: ServiceUnavailable: away", 69),
    "namespace": (b"403 x", b"<Error xmlns='u:s3'><Code>C</Code><Message>m</Message></Error>", "s3d: C: m", 1),
    "not XML": (b"200 OK", b"hello", "s3d: the answer is not XML", 1),
}


@pytest.mark.parametrize(("status", "body", "said", "code"), ANSWERS.values(), ids=ANSWERS)
def test_whatever_the_door_says_is_told_in_one_line(
    cli: Cli, answering: Answering, response: Response, status: bytes, body: bytes, said: str, code: int
) -> None:
    with answering(response(status.decode(), body)) as door:
        ran = cli("ls", "bucket", S3D_ENDPOINT=door.url)
    assert ran.code == code
    assert ran.err.splitlines()[0].startswith(said)


def test_the_hint_of_the_door_is_a_line_of_its_own(cli: Cli, answering: Answering, response: Response) -> None:
    body = ERROR % (b"SlowDown", b"The queue (of changes) is full (see `s3d status`)")
    with answering(response("503 Slow Down", body)) as door:
        ran = cli("ls", "bucket", S3D_ENDPOINT=door.url)
    assert ran.err == "s3d: SlowDown: The queue (of changes) is full\nhint: see `s3d status`\n"


def test_a_put_that_gets_no_answer_has_an_unknown_outcome(cli: Cli, answering: Answering) -> None:
    with answering(b"") as door:
        ran = cli("put", "-", "bucket/k", stdin=b"x", S3D_ENDPOINT=door.url)
    assert ran.code == 1
    assert "not known" in ran.err


def test_an_endless_document_is_cut_off(
    cli: Cli, answering: Answering, response: Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3d.cli.client.DOCUMENT_LIMIT", 1000)
    with answering(response("200 OK", b"<a>" + b" " * 2000 + b"</a>")) as door:
        ran = cli("ls", "bucket", S3D_ENDPOINT=door.url)
    assert ran.code == 1
    assert "larger than 1000 bytes" in ran.err
