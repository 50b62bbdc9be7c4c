"""The settings: one frozen section per part, each in the module of its name, with the help of each field.

`--help`, the CRD and docs/settings.md come from the fields of the sections; config.py reads them. No secret is ever
kept here: credentials are found by the AWS credential chain.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field
from pydantic.fields import FieldInfo

from s3d.settings.browsers import Browsers
from s3d.settings.fuse_mount import FuseMount
from s3d.settings.gateway import Gateway
from s3d.settings.opa import Opa
from s3d.settings.read_cache import ReadCache
from s3d.settings.remote import Remote
from s3d.settings.section import Section, reloads, setting_name
from s3d.settings.sync_folder import FIRST, SyncFolder, SyncFolders
from s3d.settings.telemetry import Telemetry
from s3d.settings.write_queue import WriteQueue

__all__ = [
    "SECTIONS",
    "Browsers",
    "FuseMount",
    "Gateway",
    "Opa",
    "ReadCache",
    "Remote",
    "Settings",
    "SyncFolder",
    "SyncFolders",
    "Telemetry",
    "WriteQueue",
    "known_settings",
    "reloadable",
]


class Settings(Section):
    """All settings."""

    title = "Settings"
    gateway: Gateway = Field(default_factory=Gateway)
    remote: Remote = Field(default_factory=Remote)
    browsers: Browsers = Field(default_factory=Browsers)
    write_queue: WriteQueue = Field(default_factory=WriteQueue)
    read_cache: ReadCache = Field(default_factory=ReadCache)
    sync_folder: SyncFolder = Field(default_factory=SyncFolder)
    sync_folders: SyncFolders = Field(default_factory=SyncFolders)
    opa: Opa = Field(default_factory=Opa)
    telemetry: Telemetry = Field(default_factory=Telemetry)
    fuse_mount: FuseMount = Field(default_factory=FuseMount)

    @property
    def queue_dir(self) -> Path:
        """Where the write queue keeps its table and its bodies."""
        return self.write_queue.dir or self.gateway.local_dir / "queue"

    @property
    def cache_dir(self) -> Path:
        """Where the read cache keeps its index and its blocks."""
        return self.read_cache.dir or self.gateway.local_dir / "cache"

    @property
    def folders(self) -> dict[str, SyncFolder]:
        """The sync folders that are kept, by name."""
        first = {FIRST: self.sync_folder} if self.sync_folder.enabled else {}
        return first | {one.name: one for one in self.sync_folders.listed if one.enabled}

    def folder_dir(self, name: str) -> Path:
        """Where a sync folder keeps what both sides had last."""
        there = self.gateway.local_dir / "sync"
        return there if name == FIRST else there / "folders" / name

    @property
    def stage_dir(self) -> Path:
        """Where the mount keeps what is being written."""
        return self.gateway.local_dir / "mount"


SECTIONS: tuple[tuple[str, type[Section]], ...] = (
    ("gateway", Gateway),
    ("remote", Remote),
    ("browsers", Browsers),
    ("write_queue", WriteQueue),
    ("read_cache", ReadCache),
    ("sync_folder", SyncFolder),
    ("sync_folders", SyncFolders),
    ("opa", Opa),
    ("telemetry", Telemetry),
    ("fuse_mount", FuseMount),
)


def known_settings() -> Iterator[tuple[str, str, str, FieldInfo]]:
    """Yield (variable, section, field name, field) of every setting."""
    for section, model in SECTIONS:
        for name, field in model.model_fields.items():
            yield setting_name(field), section, name, field


def reloadable() -> frozenset[str]:
    """The variables of the settings that `reload` may change."""
    return frozenset(variable for variable, _, _, field in known_settings() if reloads(field))
