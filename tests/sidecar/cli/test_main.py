"""The command as a process: exit codes, signals, pipes and terminals."""

import argparse
import itertools
import json
import os
import pty
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from s3d import __version__
from s3d.cli.commands import parser
from s3d.cli.target import Target, parse_target
from tests.daemons import Daemon
from tests.processes import free_port
from tests.sidecar.cli.conftest import Cli, Response

ROOT = Path(__file__).parents[3]
COMMANDS = ("run", "status", "ls", "get", "put", "set", "key", "presign")
HEAVY = (
    "aiohttp",
    "aiobotocore",
    "apsw",
    "awscrt",
    "botocore",
    "multidict",
    "prometheus_client",
    "pydantic",
    "asyncio",
)
SLOW = ("dataclasses", "inspect", "shutil", "tomllib", "xml.etree.ElementTree")
"""Modules that take as long to load as an answer may take."""


def process(*words: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a command that runs on its own."""
    return [sys.executable, "-m", "s3d", *words], {"PYTHONPATH": str(ROOT / "sidecar"), **environment}


def run(*words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command, environment = process(*words, **environment)
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, timeout=60, check=False)


def on_a_terminal(*words: str, **environment: str) -> str:
    """What a person sees."""
    near, far = pty.openpty()
    command, environment = process(*words, **{"TERM": "xterm", **environment})
    child = subprocess.Popen(command, env=environment, stdin=far, stdout=far, stderr=far)
    os.close(far)
    shown = b""
    while select.select([near], [], [], 60)[0]:
        try:
            shown += os.read(near, 65536)
        except OSError:
            break
    os.close(near)
    child.wait(60)
    return shown.decode()


@pytest.mark.parametrize("module", ["s3d", "s3d.cli"])
def test_the_command_is_a_module_too(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", module, "--version"],
        env={"PYTHONPATH": str(ROOT / "sidecar")},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout.decode()) == (0, f"s3d {__version__}\n")


@pytest.mark.parametrize(
    "words", [["ls", "bucket"], ["put", "-", "b/k"], ["get", "b/k"], ["status"], ["set", "b", "--tag", "a=b"]]
)
def test_a_client_command_loads_nothing_of_the_daemon(words: list[str], tmp_path: Path) -> None:
    assert what_is_loaded(words, HEAVY, tmp_path) == "69 []"


@pytest.mark.parametrize("words", [["status"], ["flush"], ["queue", "list"]])
def test_a_command_that_reads_no_document_is_there_soon(words: list[str], tmp_path: Path) -> None:
    assert what_is_loaded(words, SLOW, tmp_path) == "69 []"


def what_is_loaded(words: list[str], names: tuple[str, ...], tmp_path: Path) -> str:
    """The exit code of a command that finds no daemon, and which of these modules it loaded."""
    code = f"""
import sys
from s3d.cli import main
code = main({words!r})
print(code, [name for name in {names!r} if name in sys.modules], file=sys.stderr)
"""
    closed = f"http://127.0.0.1:{free_port()}"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PYTHONPATH": str(ROOT / "sidecar"),
            "S3D_ENDPOINT": closed,
            "S3D_METRICS_ENDPOINT": closed,
            "S3D_LOCAL_DIR": str(tmp_path),
        },
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ran.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(cli: Cli, command: str) -> None:
    ran = cli(command, "--help")
    assert ran.code == 0
    assert f"examples:\n  s3d {command}" in ran.out.decode().replace("S3_ENDPOINT=http://127.0.0.1:9000 ", "")


def test_every_example_is_a_command_line_that_is_understood(
    cli: Cli, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    texts = [cli("--help").out.decode(), *(cli(command, "--help").out.decode() for command in COMMANDS)]
    examples = [
        line for text in texts for line in text.split("examples:")[1].split("\n\n")[0].splitlines() if line.strip()
    ]
    assert len(examples) > 15
    for line in examples:
        lexer = shlex.shlex(line.partition("s3d ")[2].partition("   ")[0], posix=True, punctuation_chars=True)
        lexer.wordchars += "{}[]!:,"
        parser().parse_args(list(itertools.takewhile(lambda word: word not in ("|", "<", ">"), lexer)))


def test_the_help_of_every_action_has_examples_of_it(cli: Cli) -> None:
    of_commands = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    for command, choice in of_commands.choices.items():
        for actions in (one for one in choice._actions if isinstance(one, argparse._SubParsersAction)):
            for action in actions.choices:
                shown = cli(command, action, "--help").out.decode()
                assert f"examples:\n  s3d {command} {action}" in shown


def test_the_help_of_run_lists_every_setting_as_a_person_writes_it(cli: Cli) -> None:
    from s3d.settings import known_settings

    shown = cli("run", "--help").out.decode()
    assert all(f"  {variable}" in shown for variable, *_ in known_settings())
    assert "  S3D_WRITE_QUEUE_LATE_WRITE_WINDOW=15m\n" in shown
    assert "  S3D_SYNC_FOLDER_MAX_DELETE=0.5\n" in shown


USAGE = [
    [],
    ["unknown"],
    ["get", "bucket"],
    ["get", "/key"],
    ["put"],
    ["put", "file", "bucket/key", "another"],
    ["set", "b/k", "--tag", "novalue"],
    ["set", "b/k", "--tag", "=v"],
    ["put", "-", "b/k", "-m", "na me=x"],
    ["put", "-", "b/k", "-m", "a=\u00e9"],
    ["put", "-", "b/k", "-m", "a=x\r\ny: z"],
    ["put", "-", "b/k", "-t", "text/plain\n"],
    ["ls", "--recurs", "b"],
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_a_wrong_command_line_is_exit_code_2(cli: Cli, words: list[str]) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (2, b"")
    assert "usage: s3d" in ran.err


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("b", Target("b")),
        ("b/", Target("b")),
        ("b/k", Target("b", "k")),
        ("b//k", Target("b", "/k")),
        ("b/a/../k/", Target("b", "a/../k/")),
        ("s3://b/k", Target("b", "k")),
    ],
)
def test_a_target_is_split_at_its_first_slash(text: str, target: Target) -> None:
    assert parse_target(text) == target


def test_bytes_that_are_no_utf_8_are_sent_as_they_are() -> None:
    assert parse_target(os.fsdecode(b"b/\xff \xe9")).path == "/b/%FF%20%E9"


def test_nobody_at_the_endpoint_is_exit_code_69_and_says_how_to_start(cli: Cli) -> None:
    url = f"http://localhost:{free_port()}"
    ran = cli("ls", S3D_ENDPOINT=url)
    assert ran.code == 69
    assert ran.err.splitlines()[0] == f"s3d is not running at {url}"
    assert "`s3d run`" in ran.err


def test_localhost_is_ipv6_where_nobody_listens_on_ipv4(cli: Cli, response: Response) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no ::1")

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(response("200 OK", b"<a><Buckets><Bucket><Name>b</Name></Bucket></Buckets></a>"))

    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        ran = cli("ls", S3D_ENDPOINT=f"http://localhost:{listener.getsockname()[1]}")
        thread.join()
    assert ran.lines == [["", "b"]]


@pytest.mark.parametrize("url", ["localhost:33333", "ftp://x"])
def test_an_endpoint_that_is_no_http_url_is_refused(cli: Cli, url: str) -> None:
    ran = cli("ls", S3D_ENDPOINT=url)
    assert ran.code == 2
    assert "S3D_ENDPOINT" in ran.err


def test_run_check_shows_the_settings_and_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    ran = cli("run", "--check", S3D_BUCKETS="a,b", S3D_WRITE_QUEUE_MAX_SIZE="2Gi")
    shown = dict(ran.lines)
    assert ran.code == 0
    assert (shown["S3D_BUCKETS"], shown["S3D_WRITE_QUEUE_MAX_SIZE"]) == ("a,b", str(2 << 30))
    assert not (tmp_path / "local").exists()
    assert cli("run", "--check", "--json").json == [shown]


def test_the_settings_that_are_shown_can_be_set(cli: Cli) -> None:
    folders = '[{"name": "docs", "dir": "/srv/docs", "bucket": "a", "filter": ["a/x/*"], "poll": "5s"}]'
    set_here = {"S3D_BUCKETS": "a,b", "S3D_TERMINATION_LOG": "/dev/null", "S3D_SYNC_FOLDERS": folders}
    shown = dict(cli("run", "--check", **set_here).lines)
    assert "/srv/docs" in shown["S3D_SYNC_FOLDERS"]
    given = {name: value for name, value in shown.items() if value}
    assert dict(cli("run", "--check", **given).lines) == shown


def test_settings_that_are_wrong_are_exit_code_2_and_say_what_was_meant(cli: Cli) -> None:
    ran = cli("run", S3D_ENDPIONT="x")
    assert ran.code == 2
    assert "did you mean S3D_ENDPOINT?" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.semantics("A-1")
def test_a_door_for_everyone_has_to_be_asked_for(cli: Cli) -> None:
    assert cli("run", "--check", S3D_ENDPOINT="http://0.0.0.0:33333").code == 2
    assert cli("run", "--check", "--insecure").code == 0


def test_a_reader_that_leaves_early_is_no_error(s3: Any, gateway: Daemon, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(3_000_000))
    command, environment = process("get", f"{bucket}/k", S3D_ENDPOINT=gateway.endpoint)
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert child.stderr
    with child.stdout, child.stderr:
        assert child.stdout.read(10) == bytes(10)
        child.stdout.close()
        assert child.wait(60) == 141
        assert b"Error" not in child.stderr.read()


def test_ctrl_c_ends_quietly_with_130(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command, environment = process("ls", S3D_ENDPOINT=f"http://127.0.0.1:{listener.getsockname()[1]}")
        # A shell that starts the tests in the background has them ignore SIGINT, and children inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        signal.signal(signal.SIGINT, before)
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            child.send_signal(signal.SIGINT)
            assert child.communicate(timeout=60) == (b"", b"")
    assert child.returncode == 130


def test_a_terminal_gets_colours_and_sizes_for_people(s3: Any, gateway: Daemon, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="d/k", Body=bytes(4100))
    shown = on_a_terminal("ls", bucket, S3D_ENDPOINT=gateway.endpoint)
    assert "\x1b[34md/\x1b[0m" in shown
    assert "4.1 kB  d/k" in on_a_terminal("ls", "-r", bucket, S3D_ENDPOINT=gateway.endpoint)


@pytest.mark.parametrize("objection", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_nobody_gets_colours_who_objects(gateway: Daemon, objection: dict[str, str]) -> None:
    shown = on_a_terminal("status", S3D_LOCAL_DIR=str(gateway.local_dir), **objection)
    assert shown.startswith("pending   ")
    assert "\x1b" not in shown


def test_errors_are_coloured_on_a_terminal_only(tmp_path: Path) -> None:
    words = ("put", str(tmp_path / "none"), "b/k")
    assert "\x1b[31ms3d:\x1b[0m" in on_a_terminal(*words)
    assert run(*words).stderr.startswith(b"s3d: ")


def test_json_is_json_on_a_terminal_too(gateway: Daemon) -> None:
    shown = on_a_terminal("status", "--json", S3D_LOCAL_DIR=str(gateway.local_dir))
    assert json.loads(shown)["version"] == __version__
