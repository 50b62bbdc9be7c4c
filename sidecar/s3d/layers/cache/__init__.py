"""The read cache: repeated reads cost no transfer, and go on while the remote is away (SEMANTICS, section C)."""

from s3d.layers.cache.layer import Cache, forget, open_cache

__all__ = ["Cache", "forget", "open_cache"]
