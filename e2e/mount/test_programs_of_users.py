"""Programs that know nothing of S3, as their users have them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mounts import Mounted

pytestmark = [pytest.mark.parametrize("remote", ["versitygw"], indirect=True), pytest.mark.timeout(300)]


def run(program: str, *words: str | Path, cwd: Path) -> str:
    """Run a program that must succeed; what it says."""
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.semantics("M-1", "M-4")
def test_an_editor_saves_a_file_and_leaves_nothing_beside_it(mounted: Mounted, tmp_path: Path) -> None:
    mounted.put("notes.txt", b"one\n")
    run("vim", "-Nu", "NONE", "-es", "-c", "%s/one/two/", "-c", "wq", mounted.dir / "notes.txt", cwd=tmp_path)
    assert mounted.get("notes.txt") == b"two\n"
    assert mounted.keys() == mounted.names() == ["notes.txt"]
