"""Files that s3d reads as a whole: none of them keeps it waiting, and nobody else reads a secret."""

import errno
import os
from pathlib import Path

import pytest

from s3d import files
from s3d.errors import ConfigError

LIMIT = 100


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * LIMIT)
    assert files.read(path, LIMIT) == b"x" * LIMIT
    path.write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(ConfigError, match="larger than 100 bytes"):
        files.read(path, LIMIT)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "no regular file"),
        (tmp_path, "no regular file"),
        (tmp_path / "none", "No such file"),
    ):
        for read in (files.read, files.read_secret):
            with pytest.raises(ConfigError, match=words):
                read(path, LIMIT)


US, ROOT, OTHER = 1000, 0, 1001
MODES = [
    (0o600, US, True),
    (0o400, US, True),
    (0o400, ROOT, True),
    (0o440, ROOT, True),
    (0o640, ROOT, True),
    (0o440, US, False),
    (0o640, US, False),
    (0o660, ROOT, False),
    (0o644, ROOT, False),
    (0o604, US, False),
    (0o602, US, False),
    (0o600, OTHER, False),
]


@pytest.mark.semantics("A-2b")
@pytest.mark.parametrize(("mode", "owner", "is_private"), MODES)
def test_a_secret_is_its_owners_alone_and_a_groups_only_where_it_is_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: int, is_private: bool
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"secret")
    path.chmod(mode)
    there = path.stat()
    said = os.stat_result((*there[:4], owner, *there[5:]))
    monkeypatch.setattr(os, "geteuid", lambda: US)
    if is_private:
        files.check_private(path, said)
        return
    with pytest.raises(ConfigError, match=r"opens it to others|belongs to another user"):
        files.check_private(path, said)


@pytest.mark.semantics("A-2b")
def test_a_secret_that_others_can_read_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    assert files.read_secret(path, LIMIT) == b"secret"
    path.chmod(0o604)
    with pytest.raises(ConfigError, match="mode 0604 opens it to others") as refused:
        files.read_secret(path, LIMIT)
    assert f"chmod 600 {path}" in refused.value.hint


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    (tmp_path / ".keys.part").write_text("what another process left")
    files.write_whole(path, b"first", mode=0o640)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o640)
    synced = []

    def fail(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk fails"):
        files.write_whole(path, b"second", mode=0o640)
    assert (synced, path.read_bytes(), list(tmp_path.iterdir())) == ([6], b"first", [path])
