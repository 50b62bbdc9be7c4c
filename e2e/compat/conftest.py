"""What the tests with stock clients get beside the real remotes and the real daemon."""

from tests.refusals import refusing
from tests.relays import relay

__all__ = ["refusing", "relay"]
