"""The sync folders: one by settings of its own, and a list of more."""

import difflib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from s3d import documents
from s3d.settings.section import Section, setting
from s3d.settings.values import Bytes, Duration, Filter

FIRST = "folder"
"""What the folder of S3D_SYNC_FOLDER is called."""
MAX_FOLDERS = 16


class SyncFolder(Section):
    """The sync folder."""

    title = "The sync folder"
    enabled: bool = setting(
        "S3D_SYNC_FOLDER", False, "Keep a folder and a prefix of a bucket equal, both ways (docs/SYNC.md)."
    )
    dir: Path | None = setting(
        "S3D_SYNC_FOLDER_DIR", None, "The folder. s3d makes `.s3d` in it, for its trash and for what it downloads."
    )
    bucket: str = setting("S3D_SYNC_FOLDER_BUCKET", "", "The bucket.")
    prefix: str = setting(
        "S3D_SYNC_FOLDER_PREFIX", "", "What the keys of the folder's files begin with, with a slash at its end."
    )
    direction: Literal["Bidirectional", "Push", "Pull"] = setting(
        "S3D_SYNC_FOLDER_DIRECTION",
        "Bidirectional",
        "Which side follows the other. Push: the remote follows the folder, and what others wrote there is kept in the "
        "trash. Pull: the folder follows the remote, and what was changed in it becomes a conflict copy.",
    )
    filter: Filter = setting(
        "S3D_SYNC_FOLDER_FILTER",
        "",
        "Which files are synced, by bucket, key and content-length (docs/FILTERS.md). What it leaves out is left alone "
        "on both sides.",
    )
    max_size: Bytes = setting(
        "S3D_SYNC_FOLDER_MAX_SIZE", 0, "Files and objects that are larger are left alone on both sides. 0: none."
    )
    max_files: int = setting(
        "S3D_SYNC_FOLDER_MAX_FILES",
        0,
        "How many files both sides may have. What is new beyond that is left alone where it is. 0: any number.",
        ge=0,
    )
    max_age: Duration = setting(
        "S3D_SYNC_FOLDER_MAX_AGE",
        0.0,
        "What nobody has changed for longer than this, on either side, is neither sent nor fetched nor deleted. 0: any "
        "age.",
    )
    deletes: Literal["Apply", "Trash", "Ignore"] = setting(
        "S3D_SYNC_FOLDER_DELETES",
        "Apply",
        "What a delete on one side does on the other. Apply: what is deleted in the folder is deleted at the remote, "
        "and what is deleted there goes to the folder's trash. Trash: the same, but what is deleted at the remote is "
        "copied to `.s3d-trash/` below the prefix before. Ignore: nothing, then or later.",
    )
    poll: Duration = setting(
        "S3D_SYNC_FOLDER_POLL", 10.0, "How long after a look at both sides the next one begins.", gt=0
    )
    stable_for: Duration = setting(
        "S3D_SYNC_FOLDER_STABLE_FOR",
        1.0,
        "A file is read when nobody has changed it for this long: 100ms at least, since file systems tell no shorter "
        "times from one another.",
        ge=0.1,
    )
    max_delete: float = setting(
        "S3D_SYNC_FOLDER_MAX_DELETE",
        0.5,
        "The share of the files beyond which deletes in one look halt the folder, until a person says that they are "
        "meant. Ten files never halt it, unless they are all.",
        ge=0,
        le=1,
    )
    max_delete_files: int = setting("S3D_SYNC_FOLDER_MAX_DELETE_FILES", 1000, "The same as a number of files.", ge=0)
    trash_for: Duration = setting(
        "S3D_SYNC_FOLDER_TRASH_FOR",
        "7d",
        "How long what was replaced or deleted in the folder, since it was at the remote, is kept in `.s3d/trash`.",
    )

    @field_validator("prefix")
    @classmethod
    def check_prefix(cls, value: str) -> str:
        """Refuse a prefix that is no place for paths."""
        if value and (not value.endswith("/") or value.startswith("/") or "//" in value):
            raise ValueError("it is not the path of a folder in a bucket, such as team/docs/")
        return value


class NamedFolder(SyncFolder):
    """A folder of the list: what S3D_SYNC_FOLDER_DIR sets for the one is `dir` here, and so on."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
    enabled: bool = Field(default=True)


def parse_folders(value: object) -> object:
    """Read the JSON of a list of folders, and refuse members that no folder has."""
    if isinstance(value, str):
        value = documents.parse(value) if value.strip() else ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, dict | NamedFolder) for one in value):
        raise ValueError('it is not a list such as [{"name": "docs", "dir": "/srv/docs", "bucket": "team"}]')
    for one in value:
        for member in one if isinstance(one, dict) else ():
            if member not in NamedFolder.model_fields:
                close = difflib.get_close_matches(str(member), NamedFolder.model_fields, n=1)
                raise ValueError(
                    f"{str(member)[:64]!r} is no member of a folder" + (f"; did you mean {close[0]}?" if close else "")
                )
    return value


Folders = Annotated[tuple[NamedFolder, ...], BeforeValidator(parse_folders)]


class SyncFolders(Section):
    """More sync folders."""

    title = "More sync folders"
    listed: Folders = setting(
        "S3D_SYNC_FOLDERS",
        (),
        'A list of folders, in JSON or in the settings file, such as `[{"name": "docs", "dir": "/srv/docs", "bucket": '
        '"team", "prefix": "docs/"}]`. Each has a `name` of small letters, digits, dots and hyphens, and what the '
        "settings above are called behind `S3D_SYNC_FOLDER_`, in small letters.",
        max_length=MAX_FOLDERS,
    )

    @field_validator("listed")
    @classmethod
    def check_names(cls, value: tuple[NamedFolder, ...]) -> tuple[NamedFolder, ...]:
        """Refuse a name that two of them have."""
        names = [one.name for one in value]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"two folders are called {twice!r}")
        return value
