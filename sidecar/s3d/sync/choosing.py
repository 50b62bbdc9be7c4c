"""Which of the sync folders a person means."""

from collections.abc import Mapping
from pathlib import Path

from s3d.errors import S3Error
from s3d.sync.folder import Folder


def chosen(folders: Mapping[str, Folder], wanted: str) -> Folder:
    """The folder of a name, or the one that an absolute path is in; where neither is said, the only one. Raises
    S3Error."""
    if not folders:
        raise S3Error("NoSuchFolder", "There is no sync folder", status=404, hint="S3D_SYNC_FOLDER=true makes one")
    names = ", ".join(folders)
    if not wanted:
        if len(folders) > 1:
            raise S3Error(
                "InvalidRequest",
                f"There are several sync folders: {names}",
                status=400,
                hint="say which by --folder, with its name or a path in it",
            )
        return next(iter(folders.values()))
    found = folders.get(wanted) or next((one for one in folders.values() if _has(one, Path(wanted))), None)
    if found is None:
        raise S3Error(
            "NoSuchFolder", f"No sync folder is called or has {wanted[:100]!r}", status=404, hint=f"there is {names}"
        )
    return found


def _has(folder: Folder, path: Path) -> bool:
    top = folder.options.path
    return any(path.is_relative_to(one) for one in (top.absolute(), top.resolve()))
