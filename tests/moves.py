"""Holds each move of a state against the tables of moves, in every test: the statements' own and those of triggers.

SQLite tells of each row that is about to be written, on the connections that our own code opens. What a test writes
over a connection of its own, and what becomes of a row that cannot be read, is no move.
"""

import traceback
from collections.abc import Iterator

import apsw
import pytest

from s3d.layers.queue.rows import states
from s3d.layers.queue.rows.states import State, UploadState

COLUMNS = {"change": ("op", "state"), "upload": ("id", "state")}
KNOWN = {"", *State, *UploadState}


class Watch:
    """The moves that are in no table."""

    def __init__(self) -> None:
        """Begin with none."""
        self.wrong: list[str] = []
        self.made: set[tuple[str, str, str]] = set()
        """Kind of change, or `upload`; from; to."""

    def look(self, db: apsw.Connection) -> None:
        """Watch a connection, where it is one of ours: a test's own may make files."""
        if db.open_flags & apsw.SQLITE_OPEN_CREATE:
            return
        places: dict[str, list[int]] = {}

        def written(update: apsw.PreUpdate) -> None:
            table = update.table_name
            if table not in COLUMNS:
                return
            if table not in places:
                names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
                places[table] = [names.index(column) for column in COLUMNS[table]]
            kind, state = places[table]
            try:
                old, new = update.old, update.new
            except UnicodeDecodeError:
                return
            before = "" if old is None else old[state]
            after = "" if new is None else new[state]
            if after not in (before, apsw.no_change) and before in KNOWN:
                self.move(str((old or new or ())[kind]) if table == "change" else None, str(before), str(after))

        db.preupdate_hook(written)

    def move(self, op: str | None, before: str, after: str) -> None:
        """Judge one move."""
        self.made.add((op or "upload", before, after))
        if not states.allowed(states.UPLOADS if op is None else states.CHANGES, before, after, op):
            where = "".join(traceback.format_stack(limit=12))
            self.wrong.append(f"{op or 'upload'}: {before or '(new)'} -> {after or '(gone)'}\n{where}")


@pytest.fixture(autouse=True)
def moves() -> Iterator[Watch]:
    """No state moves but as the tables say."""
    watch = Watch()
    apsw.connection_hooks.append(watch.look)
    yield watch
    apsw.connection_hooks.remove(watch.look)
    if watch.wrong:
        pytest.fail("\n".join(watch.wrong))
