"""The names and HEADs that the remote has shown, for the time in which it is away (SEMANTICS C-10)."""

from s3d.layers.names.layer import Names, forget, open_names

__all__ = ["Names", "forget", "open_names"]
