"""Ceph RGW, as rgw.sh runs it from Debian's packages: the one remote that is a cluster, and is for conformance alone.

It runs once a session with one account. A machine that cannot have the packages skips what asks for it and says why.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import free_port, running, start, wait_for_http
from tests.remotes import Remote

SCRIPT = Path(__file__).parent / "rgw.sh"
CANNOT = 3
"""The script's exit code where the machine cannot have Ceph RGW."""
ACCESS_KEY, SECRET_KEY = "rgwuser", "rgwsecret"


@pytest.fixture(scope="session")
def rgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """RGW with everything in memory, and a key for server-side encryption."""
    installed = subprocess.run([SCRIPT, "install"], capture_output=True, text=True, check=False)
    if installed.returncode == CANNOT:
        pytest.skip(f"no Ceph RGW here: {installed.stderr.strip().splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    directory = tmp_path_factory.mktemp("rgw")
    port, monitor = free_port(), free_port()
    (directory / "ceph").mkdir()
    words: list[str | Path] = [directory / "ceph", str(port), str(monitor), ACCESS_KEY, SECRET_KEY]
    endpoint = f"http://127.0.0.1:{port}"
    with running(start([SCRIPT, "run", *words], directory / "log", {})) as program:
        wait_for_http(program, endpoint, status=200, timeout=120)
        yield Remote("rgw", endpoint, ACCESS_KEY, SECRET_KEY, program)
        program.signal(signal.SIGTERM)
        program.wait()
    shutil.rmtree(directory, ignore_errors=True)
