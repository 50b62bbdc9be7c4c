"""Sync folders: a folder and a prefix of a bucket each that are kept equal, both ways (SEMANTICS S)."""

from s3d.sync import comparison
from s3d.sync.choosing import chosen
from s3d.sync.folder import Folder
from s3d.sync.opening import open_folder

__all__ = ["Folder", "chosen", "comparison", "open_folder"]
