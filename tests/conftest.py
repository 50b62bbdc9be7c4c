"""What every test gets: no blocking call of ours on the event loop, real remotes, the real daemon."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.daemons import daemon, start_daemon
from tests.gateways import quick
from tests.moves import moves
from tests.refusals import refusing
from tests.relays import away, relay
from tests.remotes import bucket, minio, moto, remote, versitygw
from tests.semantics import quoted_sentences, sentences

# Generated examples are the same in every run, and a busy machine fails none of them.
settings.register_profile("s3d", derandomize=True, deadline=None)
settings.load_profile("s3d")

__all__ = [
    "away",
    "bucket",
    "daemon",
    "minio",
    "moto",
    "moves",
    "quick",
    "refusing",
    "relay",
    "remote",
    "start_daemon",
    "versitygw",
]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """A call that blocks the event loop raises, where one of our modules makes it."""
    with blockbuster_ctx("s3d"):
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the promises that no test proves."""
    missing = [name for name in sentences() if name not in quoted_sentences()]
    if missing:
        terminalreporter.section("sentences of docs/SEMANTICS.md that no test quotes")
        terminalreporter.write_line(" ".join(missing))
