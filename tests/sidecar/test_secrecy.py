"""Nobody but root sees the memory of the daemon, and no crash writes it down."""

import ctypes
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from s3d.secrecy import PR_SET_DUMPABLE, hide_memory
from tests.daemons import StartDaemon
from tests.remotes import Remote

NOBODY = 65534


def dumps(pid: int) -> bool:
    """Whether the kernel writes a core dump of a child that aborts."""
    resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.kill(pid, signal.SIGABRT)
    return os.WCOREDUMP(os.waitpid(pid, 0)[1])


@pytest.mark.usefixtures("executed")
@pytest.mark.semantics("A-5c")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root raises the limit of core dumps")
def test_a_crash_writes_no_core_dump(moto: Remote, start_daemon: StartDaemon, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path) as other:
        if not dumps(other.pid):
            pytest.skip("this machine writes no core dumps")
    assert not dumps(start_daemon(moto).process.pid)


@pytest.mark.semantics("A-5c")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("hides", [False, True])
def test_others_of_the_same_user_see_no_environment(hides: bool) -> None:
    ready, say = os.pipe()
    if not (pid := os.fork()):
        os.setuid(NOBODY)
        # The change of the user has hidden it; a program that is started shows it again.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        if hides:
            hide_memory()
        os.write(say, b"\n")
        signal.pause()
    try:
        os.read(ready, 1)
        tried = subprocess.run(
            ["cat", f"/proc/{pid}/environ"], user=NOBODY, check=False, stdout=subprocess.DEVNULL, timeout=60
        )
        assert (tried.returncode == 0) is not hides
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(say)
