"""Mutants of the read cache: each takes one promise out of it, and the state machine must see it."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from s3d.api import Call
from s3d.layers.cache.changes import Changes
from s3d.layers.cache.copies import Copies
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries
from s3d.layers.cache.serve import Serving
from s3d.layers.cache.validate import Shown, Validations
from s3d.store.db import Database


def drop_in_memory_alone(patch: pytest.MonkeyPatch) -> None:
    """What a change drops is not off the disk when the change goes on (C-9)."""
    hidden: set[str] = set()
    opened, found = Index.open, entries.find

    async def drop(self: Index, bucket: str, key: str) -> tuple[int, int]:
        nothing: list[tuple[str]] = []
        rows = self.read(lambda db: db.read("SELECT file FROM entry WHERE key = ? OR ? = ''", (key, key)), nothing)
        hidden.update(file for (file,) in rows)
        return 0, 0

    async def open_index(self: Index) -> None:
        hidden.clear()
        await opened(self)

    def find(db: Database, spot: entries.Spot) -> entries.Entry | None:
        entry = found(db, spot)
        return None if entry is None or entry.file in hidden else entry

    patch.setattr(Index, "drop", drop)
    patch.setattr(Index, "open", open_index)
    patch.setattr(entries, "find", find)


def fill_kept_over_a_change(patch: pytest.MonkeyPatch) -> None:
    """What was begun to be read before a change is kept after it (C-9)."""

    @contextlib.contextmanager
    def changing(*_: object) -> Iterator[None]:
        yield

    patch.setattr(Changes, "changing", changing)
    patch.setattr(Copies, "make_void", lambda *_: None)


def grant_ignored(patch: pytest.MonkeyPatch) -> None:
    """What the remote has given to one identity is given to all of them unasked (C-9a)."""
    patch.setattr(Serving, "_age", lambda *_: 0.0)


def validated_once(patch: pytest.MonkeyPatch) -> None:
    """What the remote has said of an object is taken for what it says now (C-2)."""
    asking = Validations._head
    said: dict[tuple[str, str, str], Shown] = {}

    async def head(self: Validations, call: Call) -> Shown:
        name = call.bucket, call.key, call.identity
        if name not in said or said[name].reply.status != 200 or "Range" in call.params:
            said[name] = await asking(self, call)
        shown = said[name]
        return replace(shown, reply=replace(shown.reply, headers=shown.reply.headers.copy()))

    patch.setattr(Validations, "_head", head)


def stale_for_ever(patch: pytest.MonkeyPatch) -> None:
    """How long ago the remote was asked does not matter while it is away (C-3)."""

    async def stale(self: Serving, call: Call, copy: Any) -> Any:
        age = self._age(copy, call.identity)
        return None if age is None else await self._unasked(call, copy, "STALE", age)

    patch.setattr(Serving, "_stale", stale)


MUTANTS = (drop_in_memory_alone, fill_kept_over_a_change, validated_once, stale_for_ever)
AMONG_IDENTITIES = (grant_ignored,)
"""Those that show only where two identities take turns."""
