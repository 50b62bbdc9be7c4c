"""The demonstration tells the truth."""

import subprocess
import sys

import pytest

from tests.daemons import ROOT


def play(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the demonstration as `make demo` does."""
    return subprocess.run(
        [sys.executable, "-m", "e2e.demo.demo", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.mark.semantics("D-1")
@pytest.mark.semantics("R-1")
def test_everything_arrives_after_two_outages_and_two_kills() -> None:
    played = play()
    assert played.returncode == 0, played.stdout + played.stderr
    assert "All of it arrived: 12 keys" in played.stdout


def test_one_flipped_bit_makes_it_fail() -> None:
    played = play("--flip")
    assert played.returncode == 1, played.stdout + played.stderr
    assert "NOT silent/film.mp4: bytes:" in played.stdout


def test_it_needs_no_test_runner() -> None:
    """`make demo` has an environment of its own, with what it needs alone."""
    command = "import sys; sys.modules['pytest'] = None; import e2e.demo.demo"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True, timeout=60)
