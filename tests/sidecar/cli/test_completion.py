"""Completion, as a real shell asks for it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon
from tests.processes import free_port

BASH = """
eval "$(s3d completion bash)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9 COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
read -ra COMP_WORDS <<< "$1"
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_python_argcomplete s3d
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with the command in it."""
    path = tmp_path / "s3d"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m s3d.cli "$@"\n')
    path.chmod(0o755)
    return tmp_path


def completed(daemon: Daemon, program: Path, line: str, **environment: str) -> list[str]:
    """What a shell offers behind a line."""
    own = {**daemon.environment, "PATH": f"{program}:/usr/bin:/bin", "HOME": str(program), **environment}
    ran = subprocess.run(["bash", "-c", BASH, "bash", line], env=own, capture_output=True, timeout=60, check=True)
    assert ran.stderr == b""
    return [word.rstrip() for word in ran.stdout.decode().splitlines() if word]


def test_commands_and_options_are_completed(gateway: Daemon, program: Path) -> None:
    assert completed(gateway, program, "s3d sta") == ["status"]
    assert set(completed(gateway, program, "s3d queue ")) >= {"list", "why", "retry", "export", "discard"}
    assert completed(gateway, program, "s3d ls --rec") == ["--recursive"]
    assert "prestop" not in completed(gateway, program, "s3d ")


def test_buckets_and_keys_are_those_of_the_door(gateway: Daemon, program: Path, s3: Any, bucket: str) -> None:
    for key in ("reports/1.csv", "reports/2.csv", "other"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert completed(gateway, program, f"s3d ls {bucket[:-2]}") == [f"{bucket}/"]
    assert set(completed(gateway, program, f"s3d get {bucket}/")) == {f"{bucket}/other", f"{bucket}/reports/"}
    assert completed(gateway, program, f"s3d get {bucket}/reports/1") == [f"{bucket}/reports/1.csv"]


def test_without_a_door_nothing_is_offered_and_nothing_said(gateway: Daemon, program: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert completed(gateway, program, "s3d get b/", S3D_ENDPOINT=nowhere) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_takes_what_is_printed(gateway: Daemon, shell: str) -> None:
    printed = gateway.cli("completion", shell).stdout
    assert b"s3d" in printed
    if not (path := shutil.which(shell)):
        pytest.skip(f"no {shell} here to read it")
    subprocess.run([path, "-n"], input=printed, timeout=60, check=True)
