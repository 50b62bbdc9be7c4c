"""The power fails right after a 200 or 204: the change is there afterwards. Without each of the syncs, some are not.

Every cut is of one change on a write-ahead log that has started over after a checkpoint: while the log grows, its own
sync commits the file system's journal and with that whatever else was left unsynced. The daemon is stopped when its
answer has come, the disk is copied, and a daemon on the copy is asked; the remote is away throughout.
"""

import http.client
import itertools
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e2e.chaos.disks import Disk, mounted, new_disk
from tests.daemons import ROOT, Daemon
from tests.processes import NotStarted, free_port
from tests.remotes import credentials

HERE = Path(__file__).parent
BUCKET = "photos"
SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
CUTS = int(os.environ.get("S3D_E2E_CUTS") or 30 + SOAK_HOURS * 1000)
CUTS_WITHOUT = 9
INLINE, FILE = 4000, 50_000
JUDGES = 2
"""Daemons on copies at once."""
LOG_SIZE = 6 << 20
"""Length of the log before the first cut, in bytes: room enough for all the changes that follow."""


@dataclass(slots=True)
class Change:
    """One change, and what a GET says afterwards."""

    kind: str
    method: str
    key: str
    body: bytes | None

    @property
    def answer(self) -> tuple[int, bytes | None]:
        return (404, None) if self.body is None else (200, self.body)


@dataclass(slots=True)
class Result:
    """What was found after the cuts."""

    lost: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def no_sync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload, in which syncs do nothing."""
    library = tmp_path_factory.mktemp("no_sync") / "no_sync.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "no_sync.c"], check=True)
    return library


@pytest.fixture
def cut_power(tmp_path: Path) -> Callable[..., Result]:
    """Make changes on a new disk and cut the power after each."""

    def cut(cuts: int, **settings: str) -> Result:
        with new_disk(tmp_path / "image", tmp_path / "local") as disk:
            # Nothing listens there: the remote is away.
            settings = {"S3_ENDPOINT": f"http://127.0.0.1:{free_port()}", "S3D_BUCKETS": BUCKET} | settings
            daemon = Daemon(tmp_path, credentials("Dummy", "Dummy") | settings)
            try:
                return cut_after_each(daemon.start(), disk, tmp_path, itertools.islice(changes(), cuts))
            finally:
                daemon.kill()

    return cut


@pytest.mark.power
@pytest.mark.fault(3)
@pytest.mark.semantics("D-1")
@pytest.mark.semantics("D-2")
@pytest.mark.timeout(900 + SOAK_HOURS * 3600)
@pytest.mark.parametrize("cuts", [CUTS])
def test_no_answered_change_is_lost(cut_power: Callable[..., Result], cuts: int) -> None:
    result = cut_power(cuts)
    assert not result.lost
    assert len(result.kept) == cuts


@pytest.mark.power
@pytest.mark.fault(5)
def test_changes_are_lost_without_any_sync(cut_power: Callable[..., Result], no_sync: Path) -> None:
    result = cut_power(CUTS_WITHOUT, LD_PRELOAD=str(no_sync))
    assert {"inline", "file", "delete"} <= set(result.lost)


@pytest.mark.power
@pytest.mark.fault(5)
def test_changes_are_lost_where_the_database_does_not_sync(cut_power: Callable[..., Result]) -> None:
    result = cut_power(CUTS_WITHOUT, PYTHONPATH=f"{HERE / 'unsynced'}:{ROOT / 'sidecar'}")
    assert {"inline", "delete"} <= set(result.lost)


@pytest.mark.power
@pytest.mark.fault(5)
def test_files_are_lost_where_directories_are_not_synced(cut_power: Callable[..., Result], no_sync: Path) -> None:
    result = cut_power(CUTS_WITHOUT, LD_PRELOAD=str(no_sync), S3D_E2E_NO_SYNC="names")
    assert set(result.lost) == {"file"}


def changes() -> Iterator[Change]:
    """Changes of each kind in turn, each of a key of its own."""
    choose = random.Random(0)
    for number in itertools.count():
        yield Change("inline", "PUT", f"inline/{number}", choose.randbytes(INLINE))
        yield Change("file", "PUT", f"file/{number}", choose.randbytes(FILE))
        yield Change("delete", "DELETE", f"old/{number}", None)


def cut_after_each(daemon: Daemon, disk: Disk, directory: Path, wanted: Iterator[Change]) -> Result:
    """Make one change after the other, keep what a power cut would have left, and go on as if there was none."""
    log = daemon.local_dir / "queue" / "queue.db-wal"
    start_log_over(daemon, log)
    cuts: list[tuple[Change, Future[bool]]] = []
    with ThreadPoolExecutor(JUDGES) as judges:
        for change in wanted:
            before = log.stat().st_size
            assert ask(daemon, change.method, change.key, change.body)[0] in (200, 204)
            daemon.process.signal(signal.SIGSTOP)
            assert log.stat().st_size == before, "the log has grown"
            image = directory / f"cut-{len(cuts)}"
            disk.copy(image)
            daemon.process.signal(signal.SIGCONT)
            cuts.append((change, judges.submit(survived, daemon.settings, image, change)))
            if len(cuts) > JUDGES:
                # Images are large: no more of them than are looked at.
                cuts[-JUDGES - 1][1].result()
    result = Result()
    for change, judgement in cuts:
        (result.kept if judgement.result() else result.lost).append(change.kind)
    print(f"{len(result.kept)} kept, {len(result.lost)} lost {sorted(set(result.lost))}")
    return result


def start_log_over(daemon: Daemon, log: Path) -> None:
    """Write until a checkpoint lets the log begin anew inside its old length."""
    for number in itertools.count():
        sequence = log_sequence(log)
        assert ask(daemon, "PUT", f"fill/{number % 100}", bytes(16_000))[0] == 200
        if log.stat().st_size >= LOG_SIZE and log_sequence(log) != sequence:
            return


def log_sequence(log: Path) -> bytes:
    """How often the log has begun anew (https://sqlite.org/fileformat.html, the WAL header)."""
    with log.open("rb") as file:
        return file.read(32)[12:16]


def survived(settings: dict[str, str], image: Path, change: Change) -> bool:
    """Whether a daemon on what is left answers as promised."""
    directory = Path(f"{image}.after")
    directory.mkdir()
    healthy = {name: value for name, value in settings.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}
    with mounted(image, directory / "local"):
        daemon = Daemon(directory, healthy)
        try:
            return ask(daemon.start(), "GET", change.key) == change.answer
        except NotStarted:
            # The start is refused where the tables do not belong to the bodies any more: what they knew is lost.
            return False
        finally:
            daemon.kill()
            image.unlink()


def ask(daemon: Daemon, method: str, key: str, body: bytes | None = None) -> tuple[int, bytes | None]:
    """One request; the body of a success alone."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    try:
        connection.request(method, f"/{BUCKET}/{key}", body=body)
        response = connection.getresponse()
        document = response.read()
        return response.status, document if response.status == 200 else None
    finally:
        connection.close()
