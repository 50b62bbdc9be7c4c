"""The sweep: it removes what has no row, and nothing on suspicion."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from s3d.store.bodies import Bodies
from s3d.store.failures import StoreFailed
from tests.contracts.bodies import pattern
from tests.sidecar.store.incoming import LIMIT, files, put_file


@pytest.fixture
async def left_behind(bodies: Bodies) -> AsyncIterator[tuple[Bodies, str, str]]:
    """A new process's store over two bodies of an old one: the first has a row, the second none."""
    names = [await put_file(bodies, pattern(LIMIT + 1)) for _ in range(2)]
    await bodies.close()
    store = await asyncio.to_thread(Bodies, bodies.root)
    yield store, names[0], names[1]
    await store.close()


@pytest.mark.semantics("D-2", "D-2a", "D-5")
async def test_a_sweep_removes_what_has_no_row(left_behind: tuple[Bodies, str, str]) -> None:
    bodies, wanted, orphan = left_behind
    (bodies.root / f".draft-{orphan}").write_bytes(b"half")
    swept = await bodies.sweep(lambda names: {wanted} & set(names), grace=-1)
    assert set(swept.removed) == {orphan, f".draft-{orphan}"}
    assert files(bodies) == [wanted]


async def test_a_sweep_leaves_what_is_young(left_behind: tuple[Bodies, str, str]) -> None:
    bodies, wanted, orphan = left_behind
    assert not (await bodies.sweep(lambda _: set(), grace=3600)).removed
    assert files(bodies) == sorted([wanted, orphan])


async def test_a_sweep_leaves_what_this_process_received(bodies: Bodies) -> None:
    name = await put_file(bodies, pattern(LIMIT + 1))
    assert not (await bodies.sweep(lambda _: set(), grace=-1)).removed
    assert files(bodies) == [name]


@pytest.mark.semantics("D-5")
async def test_a_sweep_without_a_healthy_database_removes_nothing(left_behind: tuple[Bodies, str, str]) -> None:
    bodies, wanted, orphan = left_behind

    def fail(_: list[str]) -> set[str]:
        raise StoreFailed

    with pytest.raises(StoreFailed):
        await bodies.sweep(fail, grace=-1)
    assert files(bodies) == sorted([wanted, orphan])


@pytest.mark.semantics("D-4")
async def test_a_sweep_moves_files_that_are_not_ours_aside(bodies: Bodies) -> None:
    (bodies.root / "notes.txt").write_text("mine")
    (bodies.root / "folder").mkdir()
    swept = await bodies.sweep(set, grace=-1)
    assert sorted(swept.quarantined) == ["folder", "notes.txt"]
    assert files(bodies) == []
    assert (bodies.root / "quarantine" / "notes.txt").read_text() == "mine"


async def test_a_sweep_looks_at_any_number_of_files(
    left_behind: tuple[Bodies, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies, wanted, orphan = left_behind
    monkeypatch.setattr("s3d.store.files.SWEEP_BATCH", 1)
    swept = await bodies.sweep(lambda names: {wanted} & set(names), grace=-1)
    assert swept.removed == (orphan,)
