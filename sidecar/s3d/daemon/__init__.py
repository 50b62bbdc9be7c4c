"""The daemon: what `s3d run` runs."""

from s3d.daemon.start import main

__all__ = ["main"]
