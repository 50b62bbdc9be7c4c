"""Does what is planned, a few files at a time: what makes names first, and then what drops them.

Each action looks for itself at what it takes for granted. One that was overtaken is none that failed: the next round
plans it anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial

import apsw

from s3d.errors import S3DError, S3Error, Unavailable
from s3d.metrics import Metrics
from s3d.protocol.headers import TAG_COUNT
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.acts import Acts
from s3d.sync.files import Stamp, stamp_of
from s3d.sync.objects import Objects
from s3d.sync.plan import DROPS, NOTES, Action, Do
from s3d.sync.root import Root
from s3d.sync.steady import FileChanged, open_steady

MAX_WORKERS = 4
"""Files that are sent or fetched at a time."""
MAX_NOTED = 500
"""Files that are written down in one transaction."""
GONE = {404, 412}
"""Statuses of a remote that has something else by now than the plan saw."""
UNTOLD = {403, 405, 501}
"""Statuses of a remote that has no tags to tell, or not to us."""
SENDS = (Do.PUSH, Do.DROP_THERE)


@dataclass(slots=True)
class Outcome:
    """What became of a plan."""

    done: dict[str, str] = field(default_factory=dict)
    """Paths, and the ETag that the remote has of each."""
    again: int = 0
    """Actions that were overtaken: the next round plans them anew."""
    failed: dict[str, str] = field(default_factory=dict)
    """Paths, and why what was planned could not be done."""
    waits: str = ""
    """Why nothing more is sent in this round: there is no room for it."""


@dataclass(frozen=True, slots=True)
class Doing:
    """Both sides of an open folder."""

    root: Root
    acts: Acts
    objects: Objects
    db: Database
    metrics: Metrics
    keeps_deleted: bool = False
    """Whether what is deleted at the remote is copied to its trash before."""

    async def do(self, actions: Sequence[Action]) -> Outcome:
        """Do what is planned: what moves nothing first, then what makes names, and last what drops them."""
        outcome = Outcome()
        await self._note([one for one in actions if one.do in NOTES], outcome)
        acts = [one for one in actions if one.do not in NOTES]
        for drops in (False, True):
            queue = iter([one for one in acts if (one.do in DROPS) is drops])
            async with asyncio.TaskGroup() as tasks:
                for _ in range(MAX_WORKERS):
                    tasks.create_task(self._work(queue, outcome))
        return outcome

    async def _note(self, notes: Sequence[Action], outcome: Outcome) -> None:
        """Write down what both sides are known to have: a first look at many files that are equal costs a commit for
        some hundred of them, not for each."""
        for at in range(0, len(notes), MAX_NOTED):
            some = notes[at : at + MAX_NOTED]
            try:
                await self.db.write(partial(_write_down, some))
            except S3DError as error:
                outcome.failed |= {one.path: str(error) for one in some}
                continue
            for one in some:
                outcome.done[one.path] = one.expects if one.do is Do.ADOPT else ""
                self.metrics.sync_actions.labels(self.objects.name, one.do).inc()

    async def _work(self, queue: Iterator[Action], outcome: Outcome) -> None:
        for action in queue:
            if outcome.waits and action.do in SENDS:
                continue
            if action.goes_to and not action.has_moved and action.goes_to not in outcome.done:
                outcome.again += 1
                continue
            try:
                etag = await BY_ACTION[action.do](self, action, outcome)
            except FileChanged:
                outcome.again += 1
            except S3Error as error:
                if error.code == "SlowDown" and action.do in SENDS:
                    outcome.waits = error.message
                elif error.status in GONE and not error.unknown:
                    outcome.again += 1
                    with suppress(S3Error):
                        await self.objects.look(action.path)
                else:
                    outcome.failed[action.path] = error.message
            except (S3DError, OSError) as error:
                outcome.failed[action.path] = str(error)
            else:
                if etag is None:
                    outcome.again += 1
                    continue
                outcome.done[action.path] = etag
                self.metrics.sync_actions.labels(self.objects.name, action.do).inc()

    async def push(self, action: Action, _: Outcome) -> str | None:
        """Upload a file."""
        assert action.content
        if action.expects and await self._is_tagged_out(action):
            return None
        body = await open_steady(self.root, action.path, action.content)
        try:
            stamp = stamp_of(await body.stat())
            if action.keeps:
                await self.acts.keep(action.path, await self.objects.get(action.path, action.expects))
            etag = await self._copied(action, stamp) or await self.objects.put(
                action.path, body, action.content, action.expects, mtime_ns=stamp.mtime_ns, mode=stamp.mode
            )
        finally:
            await body.aclose()
        await self.db.write(memory.know(action.path, etag, action.content))
        return etag

    async def _copied(self, action: Action, stamp: Stamp) -> str:
        """Have the remote copy what it has under another name, and return the ETag; "" where the bytes have to be sent.
        Raises S3Error where nobody knows what became of it."""
        assert action.content
        if action.copied_from is None or stamp != memory.stamp(self.db, action.path):
            return ""
        try:
            etag = await self.objects.copy(action.copied_from, action.path, mtime_ns=stamp.mtime_ns, mode=stamp.mode)
        except S3Error as error:
            if error.unknown:
                raise
            return ""
        self.metrics.sync_copied.labels(self.objects.name).inc(action.content.size)
        return etag

    async def pull(self, action: Action, _: Outcome) -> str | None:
        """Download an object."""
        answer = await self.objects.get(action.path, action.expects)
        assert answer.body
        async with aclosing(answer.body):
            if answer.headers.get(TAG_COUNT, "0") != "0" and await self.objects.is_tagged_out(action.path):
                await self.db.write(memory.tag_out(action.path, action.expects))
                return None
            await self.root.run(self.root.make_place, action.path)
            await self.acts.pull(action, answer)
        return action.expects

    async def drop_here(self, action: Action, _: Outcome) -> str | None:
        """Move a file to the trash."""
        return "" if await self.acts.drop(action) else None

    async def drop_there(self, action: Action, outcome: Outcome) -> str | None:
        """Delete an object, if it is still sure that its name has no file."""
        # Who writes the file while the tag is asked for is seen: its name is looked at last.
        if await self._is_tagged_out(action) or not await self.root.run(self.root.is_gone, action.path):
            return None
        after = (action.goes_to, await self._etag_of_new(action, outcome)) if action.goes_to else None
        if after is None and self.keeps_deleted:
            kept = await self.objects.to_trash(action.path, action.expects)
            after = kept, await self.objects.look(kept)
        await self.objects.delete(action.path, action.expects, after)
        await self.db.write(memory.deleted(action.path))
        return ""

    async def _etag_of_new(self, drop: Action, outcome: Outcome) -> str:
        """The ETag of what a move has made."""
        if not drop.has_moved:
            return outcome.done[drop.goes_to]
        # The gateway that has seen it may have been an earlier process.
        with suppress(S3Error):
            await self.objects.look(drop.goes_to)
        return outcome.done.get(drop.goes_to) or memory.etag_of(self.db, drop.goes_to)

    async def _is_tagged_out(self, action: Action) -> bool:
        """Whether the object that is about to be replaced or deleted has a tag that leaves it out, and note that. Where
        nobody can tell (the remote is away, or tells no tags) what was known holds. Raises S3Error."""
        try:
            if not await self.objects.is_tagged_out(action.path):
                return False
        except S3Error as error:
            if isinstance(error, Unavailable) or error.status in UNTOLD | GONE:
                return False
            raise
        await self.db.write(memory.tag_out(action.path, action.expects))
        return True


def _write_down(notes: Sequence[Action], db: apsw.Connection) -> None:
    """Remember of each that both sides are equal, or nothing."""
    for note in notes:
        content = note.content if note.do is Do.ADOPT else None
        (memory.know(note.path, note.expects, content) if content else memory.forget(note.path))(db)


BY_ACTION: Mapping[Do, Callable[[Doing, Action, Outcome], Awaitable[str | None]]] = {
    Do.PUSH: Doing.push,
    Do.PULL: Doing.pull,
    Do.DROP_HERE: Doing.drop_here,
    Do.DROP_THERE: Doing.drop_there,
}
"""Each returns the ETag that the remote has then, "" for no object; None where it was overtaken."""
