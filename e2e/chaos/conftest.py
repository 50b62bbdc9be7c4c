"""What the crash tests get beside the real remotes and the real daemon."""

from tests.relays import relay

__all__ = ["relay"]
