"""A disk whose power can be cut: ext4 in a file, on a loop device, that commits its journal only when it is asked to.

What the file system holds in memory alone is not in the file. A copy of the file is what a power cut at that moment
would have left.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE = 192 << 20
COMMIT_INTERVAL = 300
"""Seconds after which the journal is committed unasked: longer than any test."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted image."""

    image: Path
    mount: Path

    def copy(self, image: Path) -> None:
        """Make the image that a power cut now would leave."""
        run("cp", "--sparse=always", self.image, image)


@contextlib.contextmanager
def new_disk(image: Path, mount: Path, size: int = SIZE, *options: str) -> Iterator[Disk]:
    """Make and mount an empty disk of so many bytes, with options of mkfs.ext4. Skips the test where there is none."""
    if os.geteuid():
        pytest.skip("only root may mount a disk of its own")
    if not shutil.which("mkfs.ext4"):
        pytest.skip("no mkfs.ext4 (e2fsprogs)")
    with image.open("wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", *options, image)
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(image, mount))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop device can be mounted here: {error.stderr.decode().strip()}")
        yield disk


@contextlib.contextmanager
def mounted(image: Path, mount: Path) -> Iterator[Disk]:
    """Mount an image for a while; its journal is replayed first."""
    mount.mkdir(exist_ok=True)
    run("mount", "-o", f"loop,commit={COMMIT_INTERVAL}", image, mount)
    try:
        yield Disk(image, mount)
    finally:
        run("umount", "--lazy", mount)


def run(*command: str | Path) -> None:
    """Run a program. Raises CalledProcessError, which has its output."""
    subprocess.run(command, check=True, capture_output=True)
