"""The lock of a local dir, between real processes."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s3d.errors import ConfigError
from s3d.store.lock import lock_dir
from tests.daemons import eventually

HOLDER = """
import sys, signal
from pathlib import Path
from s3d.store.lock import lock_dir
from tests.daemons import eventually
lock = lock_dir(Path(sys.argv[1]))
print("held", flush=True)
signal.pause()
"""


def command(directory: Path, script: str) -> tuple[list[str], dict[str, str]]:
    """Words and environment of a process that runs `script` for a directory."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return [sys.executable, "-c", script, str(directory)], environment


@contextmanager
def waiting(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for the lock of a directory."""
    words, environment = command(directory, HOLDER.replace("1]))", "1]), wait=100)"))
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment) as process:
        yield process
        process.kill()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of tmp_path."""
    words, environment = command(tmp_path, HOLDER)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.semantics("D-8")
def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(ConfigError, match=rf"in use by another s3d \(pid {holder.pid} on .+, since 2\d\d\d-") as error:
        lock_dir(tmp_path)
    assert error.value.hint


@pytest.mark.semantics("D-8")
def test_a_second_process_waits_for_the_first_to_leave(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    threading.Timer(0.2, holder.send_signal, [signal.SIGTERM]).start()
    lock_dir(tmp_path, wait=30).release()


def test_a_holder_sees_that_another_process_waits_and_that_it_has_been_killed(tmp_path: Path) -> None:
    lock = lock_dir(tmp_path)
    assert not lock.is_asked_for()
    with waiting(tmp_path) as process:
        eventually(lock.is_asked_for)
        assert lock.is_asked_for(), "the look ends nothing"
        process.kill()
        process.wait()
        assert not lock.is_asked_for()
    lock.release()


def test_one_that_does_not_wait_asks_for_nothing(tmp_path: Path) -> None:
    lock = lock_dir(tmp_path)
    with pytest.raises(ConfigError):
        lock_dir(tmp_path)
    assert not lock.is_asked_for()
    lock.release()


def test_who_has_waited_and_has_it_now_is_not_taken_for_one_that_waits(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    threading.Timer(0.2, holder.send_signal, [signal.SIGTERM]).start()
    lock = lock_dir(tmp_path, wait=30)
    again = os.open(tmp_path / "lock.asked", os.O_RDWR)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    lock.release()


@pytest.mark.semantics("D-8")
def test_a_killed_process_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    lock = lock_dir(tmp_path)
    assert str(os.getpid()) in (tmp_path / "lock").read_text()
    lock.release()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = lock_dir(tmp_path)
    lock.release()
    lock.release()
    lock_dir(tmp_path).release()


def test_a_local_dir_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone cannot be used as the local dir"):
        lock_dir(tmp_path / "gone")
