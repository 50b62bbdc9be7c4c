"""What the tests with stock clients get beside the real remotes and the real daemon."""

from e2e.compat.browser import page
from tests.refusals import refusing
from tests.relays import faults, relay

__all__ = ["faults", "page", "refusing", "relay"]
