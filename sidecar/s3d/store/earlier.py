"""Where something expendable was kept that must be forgotten as soon as nobody keeps it up.

A marker names the directories, before anything is kept there. So what was kept in one of them is found when another one
takes its place, or none: it would be wrong by the time in which somebody goes on with it.
"""

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from s3d import documents
from s3d.errors import S3DError
from s3d.files import write_whole

log = logging.getLogger(__name__)

MAX_MARKER = 1 << 20


def forget_earlier(marker: Path, known: Iterable[Path], current: Path | None, forget: Callable[[Path], None]) -> None:
    """Forget what was kept in another directory than the current one; None: nothing is kept any more.

    `known` are directories that no marker needs to name. One that cannot be cleared is tried again at the next start.
    Blocks. Raises OSError where the marker cannot be written.
    """
    named = _named(marker)
    if current is not None and current not in named:
        named = [*named, current]
        _name(marker, named)
    left: list[Path] = []
    for directory in dict.fromkeys([*named, *known]):
        if directory == current:
            continue
        try:
            if directory.exists():
                forget(directory)
        except (OSError, S3DError) as error:
            log.warning("what was kept in %s cannot be forgotten yet: %s", directory, error)
            left.append(directory)
    kept = [*left, *([current] if current is not None else [])]
    if kept != named:
        _name(marker, kept)


def _named(marker: Path) -> list[Path]:
    try:
        if marker.stat().st_size > MAX_MARKER:
            return []
        names = documents.parse(marker.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read: %s", marker, error)
        return []
    return [Path(name) for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _name(marker: Path, directories: Iterable[Path]) -> None:
    write_whole(marker, json.dumps([str(directory) for directory in directories]).encode(), mode=0o600)
