"""Completion, as a real shell asks for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon, eventually
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

FISH = """
s3d completion fish | source
complete -C "$argv[1]"
"""
ZSH = """
autoload -Uz compinit && compinit -u -d "$HOME/compdump"
eval "$(s3d completion zsh)"
shown() { print -r -- "$BUFFER" >"$HOME/shown" }
zle -N shown && bindkey '^G' shown
print ready >"$HOME/ready"
"""
"""What is read before the first prompt: Control-G writes down the line as it stands."""
NEEDED = {
    shell: pytest.mark.skipif(not shutil.which(shell), reason=f"no {shell} here; e2e/cluster/shells.sh installs it")
    for shell in ("bash", "zsh", "fish")
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with the command in it."""
    path = tmp_path / "s3d"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m s3d.cli "$@"\n')
    path.chmod(0o755)
    return tmp_path


def surroundings(daemon: Daemon, program: Path) -> dict[str, str]:
    """The environment of a shell that finds the command."""
    return {**daemon.environment, "PATH": f"{program}:/usr/bin:/bin", "HOME": str(program), "LC_ALL": "C.UTF-8"}


def completed(daemon: Daemon, program: Path, line: str, **environment: str) -> list[str]:
    """What a shell offers behind a line."""
    own = {**surroundings(daemon, program), **environment}
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


@NEEDED["fish"]
def test_fish_completes_commands_and_keys(gateway: Daemon, program: Path, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="reports/1.csv", Body=b"x")
    for line, word in (("s3d sta", "status"), (f"s3d get {bucket}/rep", f"{bucket}/reports/")):
        command = ["fish", "-c", FISH, line]
        own = surroundings(gateway, program)
        ran = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, check=True)
        assert [offer.partition("\t")[0] for offer in ran.stdout.splitlines()] == [word]


@NEEDED["zsh"]
def test_a_tab_completes_on_the_line_of_a_zsh(gateway: Daemon, program: Path, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="reports/1.csv", Body=b"x")
    (program / ".zshrc").write_text(ZSH)
    shown = program / "shown"
    ours, theirs = os.openpty()
    own = {**surroundings(gateway, program), "TERM": "xterm"}
    with subprocess.Popen(["zsh", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=own, process_group=0) as shell:
        try:
            os.close(theirs)
            eventually((program / "ready").exists)
            # What is typed while a shell is still asking is read once it has its answer.
            for typed, line in (("s3d sta", "s3d status "), (f"s3d get {bucket}/rep", f"s3d get {bucket}/reports/")):
                os.write(ours, f"{typed}\t\a".encode())
                eventually(lambda: shown.exists() and shown.read_text().endswith("\n"))
                assert shown.read_text() == f"{line}\n"
                shown.unlink()
                os.write(ours, b"\x15")
        finally:
            shell.kill()
            os.close(ours)
