"""The access keys of the door: read from S3D_ACCESS_KEYS_FILE, and taken over as the file changes (SEMANTICS A-2).

A request is judged by the keys that hold when it comes; one that is under way then goes on.
"""

from pathlib import Path

from s3d import files
from s3d.access import document
from s3d.access.keys import Keys
from s3d.watched import Watched


class KeysFile:
    """The keys that hold now."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError."""
        self._path = path
        data = self._read()
        self.keys: Keys = document.keys_of(document.parse(data, path))
        self.watched = Watched("access_keys", path, self._read, self._take, seen=data)

    @property
    def count(self) -> int:
        """How many keys there are."""
        return sum(1 for _ in self.keys)

    def _read(self) -> bytes:
        return files.read_secret(self._path, document.MAX_BYTES)

    def _take(self, data: bytes) -> str:
        self.keys = document.keys_of(document.parse(data, self._path))
        return f"{self.count} keys"
