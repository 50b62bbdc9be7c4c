"""A control group with little memory, of version 1 or 2, as the machine has it."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.chaos.requests import wait_until

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Group:
    """A group, and the files that say how it fares."""

    path: Path
    unified: bool

    @property
    def kills(self) -> int:
        """How many processes of it were killed for want of memory."""
        said = (self.path / ("memory.events" if self.unified else "memory.oom_control")).read_text()
        found = re.search(r"^oom_kill (\d+)$", said, re.MULTILINE)
        assert found, said
        return int(found[1])

    @property
    def anonymous(self) -> int:
        """Bytes of memory that no file stands behind."""
        name = "anon" if self.unified else "total_rss"
        said = (self.path / "memory.stat").read_text()
        found = re.search(rf"^{name} (\d+)$", said, re.MULTILINE)
        assert found, said
        return int(found[1])


@contextlib.contextmanager
def new_group(memory: int) -> Iterator[Group]:
    """Make a group of so many bytes. Skips the test where that cannot be done."""
    if os.geteuid():
        pytest.skip("only root may make a control group")
    unified = (ROOT / "cgroup.controllers").exists()
    path = (ROOT if unified else ROOT / "memory") / f"s3d-e2e-{secrets.token_hex(4)}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no memory control group here: {error}")
    try:
        try:
            (path / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(memory))
        except OSError as error:
            pytest.skip(f"no memory control group here: {error}")
        yield Group(path, unified)
    finally:
        # Its processes have ended by now; the kernel may take a moment to see it.
        wait_until(lambda: is_removed(path))


def is_removed(path: Path) -> bool:
    """Remove a group; whether nothing is in it any more."""
    try:
        path.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
