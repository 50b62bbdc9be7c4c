"""The access keys of the door: those of S3D_ACCESS_KEYS_FILE, taken over as the file changes (SEMANTICS A-2), and
beside them the one that was made for the applications (A-2d).

A request is judged by the keys that hold when it comes; one that is under way then goes on.
"""

from pathlib import Path

from s3d import files
from s3d.access import document
from s3d.access.keys import AccessKey, Keys
from s3d.door import app_credentials
from s3d.errors import ConfigError
from s3d.settings import Gateway
from s3d.watched import Watched


class DoorKeys:
    """The keys that hold now."""

    def __init__(self, path: Path | None, app: AccessKey | None = None) -> None:
        """Read the file, where there is one; `app` holds beside what is in it. Raises ConfigError."""
        self._app = app
        self.keys: Keys
        self.watched: Watched[bytes] | None = None
        """The file; None where there is none."""
        if path is None:
            self.keys = Keys([app] if app else [], None)
            return
        self._path = path
        data = self._read()
        self._take(data)
        self.watched = Watched("access_keys", path, self._read, self._take, seen=data)

    @property
    def count(self) -> int:
        """How many keys there are."""
        return sum(1 for _ in self.keys)

    def _read(self) -> bytes:
        return files.read_secret(self._path, document.MAX_BYTES)

    def _take(self, data: bytes) -> str:
        keys = document.keys_of(document.parse(data, self._path))
        if self._app is not None:
            if keys.find(self._app.id):
                raise ConfigError(f"{self._path}: the key {self._app.id} is that of {app_credentials.SETTING}")
            keys = Keys([*keys, self._app], keys.anonymous)
        self.keys = keys
        return f"{self.count} keys"


def open_keys(settings: Gateway) -> DoorKeys | None:
    """The keys of the settings; None where everyone who reaches the door is served. Raises ConfigError."""
    path, made = settings.access_keys_file, settings.app_credentials_file
    if path is None and made is None:
        return None
    return DoorKeys(path, app_credentials.keep(made) if made else None)
