"""One run of the benchmark, and what its parts have in common."""

import argparse
import json
import urllib.request
from typing import Any

from e2e.bench import loads
from e2e.bench.loads import Result
from e2e.bench.servers import Place, Server
from e2e.bench.table import Row

HELD = {"S3D_WRITE_QUEUE_DELAY": "1h"}
"""What is put stays pending: accepting and delivering are measured apart."""


class Run:
    """One run: its place, its options, and the figures so far."""

    def __init__(self, place: Place, options: argparse.Namespace) -> None:
        self.place = place
        self.rounds: int = options.rounds
        self.seconds: float = options.seconds
        self.pending: int = options.pending
        self.files: int = options.files
        self.rows: list[Row] = []
        self.figures: dict[str, Any] = {}

    def add(self, row: Row) -> None:
        """Keep a row and show it."""
        self.rows.append(row)
        print(f"{row.work}: {row.figure}; {row.beside}; {row.goal}: {row.verdict}", flush=True)


def need(server: Server | None, name: str) -> Server:
    """A server that a part cannot do without."""
    if server is None:
        raise RuntimeError(f"there is no {name}: e2e/cluster/tools.sh {name} builds it")
    return server


def fill(server: Server, keys: list[str]) -> None:
    """Put each key once."""
    loads.once(server, loads.presign(server, "put_object", keys))


def middle(results: list[Result]) -> Result:
    """The result of the median rate."""
    return sorted(results, key=lambda result: result.rate)[len(results) // 2]


def mega(size: int) -> float:
    """Bytes in MB."""
    return size / 1e6


def pending(server: Server, what: str = "changes") -> int:
    """How many changes a daemon says are pending, or `held` among them."""
    number: int = status(server)["pending"][what]
    return number


def status(server: Server) -> dict[str, Any]:
    """What a daemon says of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/status", timeout=10) as answer:
        said: dict[str, Any] = json.load(answer)
        return said
