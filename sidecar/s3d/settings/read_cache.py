"""The read cache."""

from pathlib import Path

from s3d.settings.section import Section, setting
from s3d.settings.values import Bytes, Duration, Filter


class ReadCache(Section):
    """The read cache."""

    title = "The read cache"
    enabled: bool = setting("S3D_READ_CACHE", False, "Keep what was read, so that it is not fetched again.")
    dir: Path | None = setting("S3D_READ_CACHE_DIR", None, "Directory of the cache. Unset: LOCAL_DIR/cache.")
    filter: Filter = setting(
        "S3D_READ_CACHE_FILTER",
        "",
        "Rules that say which objects are cached (docs/FILTERS.md). Of the others nothing is kept. Empty: all, but "
        "those that a tag s3d.cache=false leaves out.",
        reloads=True,
    )
    max_size: Bytes = setting(
        "S3D_READ_CACHE_MAX_SIZE",
        "10Gi",
        "Bytes of the disk that the cache may take. What was not read for the longest time goes first.",
        reloads=True,
    )
    max_files: int = setting(
        "S3D_READ_CACHE_MAX_FILES", 100_000, "Most objects that may be cached.", reloads=True, ge=1
    )
    max_age: Duration = setting(
        "S3D_READ_CACHE_MAX_AGE",
        0.0,
        "An object that was not read for this long is dropped. 0 disables the limit.",
        reloads=True,
    )
    fresh_for: Duration = setting(
        "S3D_READ_CACHE_FRESH_FOR",
        0.0,
        "How long after an answer of the remote an object is answered from the cache without asking whether it is the "
        "newest version, to the identity that got the answer. 0: the remote is asked each time, by a HEAD.",
        reloads=True,
    )
    max_stale: Duration = setting(
        "S3D_READ_CACHE_MAX_STALE",
        86400.0,
        "How old the last answer of the remote to the same identity may be while the remote is away or in trouble, and "
        "a cached object is answered without it, marked `x-cache: STALE`. 0: never.",
        reloads=True,
    )
    max_names: int = setting(
        "S3D_READ_CACHE_MAX_NAMES",
        100_000,
        "Most names of objects that are remembered for listings, and most HEADs, for the time in which the remote is "
        "away. What was used least recently goes first.",
        reloads=True,
        ge=0,
    )
    pin_rate: Bytes = setting(
        "S3D_READ_CACHE_PIN_RATE",
        "50Mi",
        "Bytes a second, on average, that are fetched of objects with the tag s3d.cache=pin before anybody reads them.",
        reloads=True,
        ge=1,
    )
    validate_timeout: Duration = setting(
        "S3D_READ_CACHE_VALIDATE_TIMEOUT",
        1.0,
        "How long a read waits for the remote to say whether a cached object is the newest version, where it may be "
        "answered without that.",
        reloads=True,
        gt=0,
    )
