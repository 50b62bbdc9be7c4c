"""What changes under a running daemon: the settings in S3D_CONFIG_DIR."""

import logging

from s3d import config, documents, files
from s3d.settings import Settings
from s3d.watched import Watched

MAX_SETTINGS = 1 << 20
"""Bytes of settings.json; a ConfigMap holds no more."""


def watched_settings(settings: Settings, said: set[str]) -> Watched[bytes]:
    """The settings in S3D_CONFIG_DIR. A file that is missing or empty asks for nothing: the last settings stay.

    `said` is given the names of those that were taken over.
    """
    path = settings.gateway.config_dir / "settings.json" if settings.gateway.config_dir else None

    def read() -> bytes:
        return files.read(path, MAX_SETTINGS) if path and path.exists() else b""

    def take(data: bytes) -> str:
        if not data.strip():
            return ""
        values = config.check_names(documents.parse(data))
        changed = config.reload(settings, values)
        said.update(values)
        if changed:
            take_log_level(settings)
        return ", ".join(changed)

    return Watched("settings", path, read, take, seen=b"")


def take_log_level(settings: Settings) -> None:
    """Log from the level on that is set now."""
    logging.getLogger().setLevel(settings.gateway.log_level.upper())
