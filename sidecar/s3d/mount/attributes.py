"""What stat(2) and statvfs(2) show. Only this module and those that talk to the kernel know pyfuse3.

The kernel remembers no file: it asks each time, and so a change by the S3 door shows at once. A directory it takes to
be there for a second, since each path leads through several. Time and the bit that lets a file be executed are the
object's own; owner and the other bits are the mount's.
"""

import stat

import pyfuse3

from s3d.mount.files import file_of
from s3d.mount.tree import Node
from s3d.mount.views import File
from s3d.settings import FuseMount

DIRECTORY_SECONDS = 1.0
"""How long a directory that was looked up is taken to be there."""
BLOCK_BYTES = 4096
"""Bytes of a block in statvfs(2), and the unit in which programs write best."""
SECTOR_BYTES = 512
MAX_NAME = 255


def of(node: Node, settings: FuseMount) -> pyfuse3.EntryAttributes:
    """The attributes of an inode."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = node.ino
    entry.generation = 0
    entry.entry_timeout = entry.attr_timeout = 0
    entry.st_uid, entry.st_gid = settings.owner
    entry.st_nlink = 1
    entry.st_blksize = BLOCK_BYTES
    if node.session is None and not isinstance(node.what, File):
        entry.entry_timeout = entry.attr_timeout = DIRECTORY_SECONDS
        entry.st_mode = stat.S_IFDIR | 0o755
        return entry
    file = file_of(node)
    if node.session is not None and node.session.nameless:
        entry.st_nlink = 0
    entry.st_mode = stat.S_IFREG | (0o755 if file.executable else 0o644)
    entry.st_size = file.size
    entry.st_blocks = -(-file.size // SECTOR_BYTES)
    entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = file.modified_ns
    return entry


def of_filesystem(total: int, free: int) -> pyfuse3.StatvfsData:
    """The attributes of the whole: how much fits, and how much still does."""
    found = pyfuse3.StatvfsData()
    found.f_bsize = found.f_frsize = BLOCK_BYTES
    found.f_blocks = total // BLOCK_BYTES
    found.f_bfree = found.f_bavail = max(0, free) // BLOCK_BYTES
    found.f_files = found.f_ffree = found.f_favail = 1 << 31
    found.f_namemax = MAX_NAME
    return found
