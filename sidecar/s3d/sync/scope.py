"""What a folder holds: the filter, the limit of size and the files that programs make for themselves. Pure.

Leaving the scope is never a delete (SEMANTICS S-4), so all of this may change between two starts.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from s3d.filters.match import Subject, Truth, decide
from s3d.filters.rule import Rules

ODD = tuple(f"{'[0-9A-Za-z]' * at}[0-9A-Z]{'[0-9A-Za-z]' * (5 - at)}" for at in range(6))
"""Six letters and digits, of which one at least is no small letter: `.env.sample` and `sediments` are no temporary
files."""
IGNORED = (
    *("*.sw[a-z]", "4913", "*~", ".#*", "#*#"),  # vim and emacs
    *("~$*", ".~lock.*#"),  # offices
    *("*.part", "*.crdownload"),  # downloads
    *(f"sed{odd}" for odd in ODD),  # sed -i
    *(f".*.{odd}" for odd in ODD),  # rsync
    *(".nfs*", ".fuse_hidden*", ".DS_Store", "Thumbs.db", "desktop.ini"),  # file systems and desktops
)
"""Names that programs give to files which are not there for others."""


def scope(
    bucket: str, prefix: str, wanted: Rules, max_size: int, ignored: Sequence[str] = IGNORED
) -> Callable[[str, int], str]:
    """Why a path with a size is out of scope; "" where it is not. `max_size` 0: any."""

    def leaves_out(path: str, size: int) -> str:
        parts = path.split("/")
        if any(fnmatchcase(part, pattern) for part in parts for pattern in ignored):
            return "the name is one that programs give to files of their own"
        if max_size and size > max_size:
            return f"it is larger than {max_size} bytes"
        subject = Subject(bucket, prefix + path, headers={"content-length": str(size)})
        # What cannot be told without asking for each object, such as a tag, is out of scope (F-5).
        return "" if decide(wanted, subject).answer is Truth.YES else "the filter leaves it out"

    return leaves_out
