"""One sync folder's life: rounds, each of which looks at both sides, plans, and does what is planned.

A round trusts nothing that an earlier one has seen but the base. So whatever wakes it (a change in the folder, in the
gateway, or the time) only says when to look, and a wake-up that is lost costs time and nothing else. What halts a
folder is judged anew each time: it goes on by itself once the reason is gone (SEMANTICS S-2, S-5).
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from s3d.clock import Clock, tick
from s3d.errors import S3DError, S3Error
from s3d.feed import Event, Events, Follower, Why
from s3d.metrics import Metrics
from s3d.store.db import Database
from s3d.store.failures import StoreFailed
from s3d.sync import guards, memory, there
from s3d.sync.acts import Acts
from s3d.sync.deletes import Deletes
from s3d.sync.doing import Doing, Outcome
from s3d.sync.guards import MEANING, Halt, tally
from s3d.sync.objects import Objects
from s3d.sync.options import Options
from s3d.sync.place import Place
from s3d.sync.plan import BEING_WRITTEN, Action, Direction, Do, Rules
from s3d.sync.planning import planned
from s3d.sync.reading import read
from s3d.sync.root import Root
from s3d.sync.state import State
from s3d.sync.tags import Tags
from s3d.sync.there import Changes
from s3d.sync.walk import Walk
from s3d.sync.watch import Watch

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.1
"""Seconds in which events are gathered."""
SOON_INTERVAL = 1.0
"""Seconds until the next round where something changed while this one ran."""
MAX_LAST_ROUNDS = 5
"""Rounds that the daemon makes when it ends, at most: a file that is written to all the time has no last version."""
MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at both sides has found to be done."""

    actions: list[Action]
    """With the moves named."""
    left: list[Action]
    """What is left alone."""
    files: int
    """That both sides have had."""
    written: int
    """Files that are being written."""
    why: str
    """Why the remote is not known; "" where it is."""
    refusal: S3Error | None
    """The answer of a remote that refuses its listing."""


class Folder:
    """A folder and a prefix that are kept equal."""

    def __init__(
        self,
        objects: Objects,
        db: Database,
        changes: Changes,
        options: Options,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Take the remote's side, what is known, the queue, the settings and the clock of the trash."""
        self._clock = clock
        self.objects = objects
        self.db = db
        self.changes = changes
        self.options = options
        self._metrics = metrics
        remote = f"{options.endpoint} {objects.bucket}/{objects.prefix}"
        self.place = Place(options, db, clock, remote, self._count_conflict)
        self._busy = asyncio.Lock()
        self._woken = asyncio.Event()
        self._listed_at = -math.inf
        self._watch: Watch | None = None
        self.state = State.STARTING
        self.reason = ""
        self.halt: Halt | None = None
        self.since = time.time()
        self.unsent = 0
        self.began = self.ended = 0
        self.conflicts = 0
        self.odd: list[str] = []
        self.directories: list[str] = []
        self.failed: dict[str, str] = {}
        self._delivered: dict[str, str] = {}
        self.tags = Tags(objects, db)
        self._has_looked = False
        self._soon = False
        self._ends = False

    async def look(self) -> None:
        """Make a round, and rest until something wakes it or its time has come."""
        self._woken.clear()
        await self.round()
        rest = self.options.poll
        if self.state in (State.QUIET, State.WORKING):
            # Rounds that were made for the folder's own sake do not put off the next listing.
            rest = max(min(SOON_INTERVAL, rest), self._listed_at + rest - tick())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOON_INTERVAL if self._soon and self.state is not State.WAITING else rest):
                await self._woken.wait()
                # What comes in a burst is looked at once.
                await asyncio.sleep(GATHER_SECONDS)

    def wake(self, *, lists: bool = True) -> None:
        """Have a round made soon; without `lists` by what is known of the remote, if that is not old."""
        if lists:
            self._listed_at = -math.inf
        self._woken.set()

    async def round(self) -> None:
        """Look at both sides and make them equal. What a disk or the remote does not give is waited for."""
        async with self._busy:
            self._soon = self._has_looked = False
            self.began += 1
            try:
                await self._make_round()
            except (S3Error, StoreFailed, OSError) as error:
                said = error.message if isinstance(error, S3DError) else (error.strerror or str(error))
                self._say(State.WAITING, said)
            self.ended = self.began
            self._measure()

    async def _make_round(self) -> None:
        if memory.fact(self.db, "paused"):
            self._say(State.PAUSED)
            with contextlib.suppress(OSError, StoreFailed):
                await self._count()
            return
        seen = await self._see()
        if seen is None:
            await self.place.close()
            return
        root, acts = self.place.root, self.place.acts
        assert root
        assert acts
        actions = seen.actions
        self.unsent = _unsent(actions) + seen.written
        if seen.refusal:
            raise seen.refusal
        if not memory.fact(self.db, "accepts") and self._is_halted(
            guards.halt(tally(actions, seen.files), self.options.limits)
        ):
            return
        conflicts = self.conflicts
        doing = self.doing(root, acts)
        self._say(State.WORKING if actions else self.state, "" if actions else self.reason, self.halt)
        if actions or memory.fact(self.db, "accepts"):
            await self.place.advance()
        outcome = await doing.do(actions)
        await self.db.write(memory.keep_fact("accepts", ""))
        await acts.empty_trash(self._clock.now() - self.options.trash_for)
        copies = self.conflicts - conflicts if self.options.direction is not Direction.PULL else 0
        self._tell(actions, outcome, seen.why, seen.written + copies)

    def doing(self, root: Root, acts: Acts) -> Doing:
        """What does a plan in the open folder."""
        return Doing(root, acts, self.objects, self.db, self._metrics, self.options.deletes is Deletes.TRASH)

    async def _see(self) -> Seen | None:
        """Look at both sides, and plan; None where the folder is not the one that is meant. Raises OSError, StoreFailed
        and S3Error."""
        if self._is_halted(await self.place.open()):
            return None
        root, acts = self.place.root, self.place.acts
        assert root
        assert acts
        if memory.acts(self.db):
            # A disk that failed has left them.
            await acts.recover()
        if await there.take_back(self.changes, self.objects, self.db):
            # What was listed before shows them as if they had been delivered.
            self._listed_at = -math.inf
        walk = await self._read(root)
        if isinstance(walk, Halt):
            self._is_halted(walk)
            return None
        refusal: S3Error | None = None
        try:
            there_is_whole, why = await self._list()
        except S3Error as error:
            # A remote that refuses the listing is sent nothing; but what it has not got is counted.
            there_is_whole, why, refusal = False, error.message, error
        return await self._plan(walk, there_is_whole=there_is_whole, why=why, refusal=refusal)

    async def _read(self, root: Root) -> Walk | Halt:
        """Walk the folder, and read what is new in it; a halt where it is not the one that is meant. Raises OSError and
        StoreFailed."""
        walk = Walk(root, self._watch.cover) if self._watch else Walk(root)
        number = await self.db.write(memory.walk(walk))
        self.odd = walk.odd[:MAX_SHOWN]
        # A volume that went away during the walk has shown an empty folder.
        if halt := await self.place.open():
            return halt
        self._soon = not await read(root, self.db, number, 0.0 if self._ends else self.options.stable_for)
        await self.db.write(memory.vanish(number))
        return walk

    async def _count(self) -> None:
        """Count what a paused folder has not sent (S-9). Nothing is done, and the remote is not asked. Raises OSError
        and StoreFailed."""
        if await self.place.open():
            return
        assert self.place.root
        walk = await self._read(self.place.root)
        self._soon = False
        if isinstance(walk, Walk):
            seen = await self._plan(walk, there_is_whole=False)
            self.unsent = _unsent(seen.actions) + seen.written

    async def _plan(self, walk: Walk, *, there_is_whole: bool, why: str = "", refusal: S3Error | None = None) -> Seen:
        await self._take_deliveries()
        if there_is_whole:
            await self.tags.ask()
        rules = Rules(
            self.options.direction,
            self.objects.prefix,
            walk.is_whole,
            there_is_whole,
            self.options.leaves_out,
            self.options.most,
            time.time() - self.options.max_age if self.options.max_age else 0.0,
        )
        actions, files = await self.db.write(planned(rules, self.options.deletes))
        self._has_looked = True
        written = sum(one.reason == BEING_WRITTEN for one in actions)
        done = [one for one in actions if one.do is not Do.LEAVE]
        return Seen(done, [one for one in actions if one.do is Do.LEAVE], files, written, why, refusal)

    def _tell(self, actions: Sequence[Action], outcome: Outcome, why: str, more: int) -> None:
        """Say how a round went; `more` files are not sent which were not planned."""
        self.failed = outcome.failed
        if outcome.again:
            self._listed_at = -math.inf
        self.unsent = _unsent(one for one in actions if one.path not in outcome.done) + more
        is_written_to = self._soon
        self._soon = self._soon or bool(outcome.again) or bool(outcome.done)
        if why or outcome.waits or outcome.failed:
            self._say(State.WAITING, why or outcome.waits or next(iter(outcome.failed.values())))
        elif outcome.again or is_written_to:
            self._say(State.WORKING)
        else:
            self._say(State.QUIET)

    def _say(self, state: State, reason: str = "", halt: Halt | None = None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.since = time.time()
            tell = log.warning if state in (State.WAITING, State.HALTED) else log.info
            tell("the sync folder %s is %s%s", self.objects.name, state, f": {reason}" if reason else "")
        self.state, self.reason, self.halt = state, reason, halt

    def _is_halted(self, halt: Halt | None) -> bool:
        if halt is not None:
            self._say(State.HALTED, MEANING[halt], halt)
        return halt is not None

    def _count_conflict(self, path: str) -> None:
        self.conflicts += 1
        self._metrics.sync_conflicts.labels(self.objects.name).inc()
        log.warning(
            "the sync folder %s keeps both versions of a file that was changed on both sides", self.objects.name
        )

    async def _list(self) -> tuple[bool, str]:
        """List the remote, unless that was done just now: whether it is known, and why not. Raises S3Error."""
        if tick() - self._listed_at < self.options.poll:
            return True, ""
        # Who wakes the folder meanwhile has it listed again.
        self._listed_at, before = tick(), self._listed_at
        why = "it broke off"
        try:
            why = await there.listed(self.changes, self.objects, self.db)
        finally:
            if why:
                self._listed_at = min(before, self._listed_at)
        return not why, why

    # What a person says.

    async def pause(self) -> None:
        """Make no rounds until `resume`, over restarts too; a round that runs ends first."""
        await self.db.write(memory.keep_fact("paused", "1"))
        async with self._busy:
            self._say(State.PAUSED)

    async def resume(self, *, as_new: bool, accepts: bool) -> None:
        """Go on. `as_new`: forget what both sides had, so that nothing is deleted and what differs is kept twice.
        `accepts`: what the next plan deletes and replaces is meant."""
        async with self._busy:
            if as_new:
                await self.place.close()
                try:
                    await asyncio.to_thread(_unmark, self.options.path)
                except OSError as error:
                    raise S3Error("NoSuchFolder", f"The folder: {error.strerror}", status=409) from error
                await self.db.write(memory.keep_fact("marker", ""))
                await self.db.write(memory.keep_fact("remote", ""))
                await self.db.write(memory.forget_base)
            await self.db.write(memory.keep_fact("paused", ""))
            if accepts:
                await self.db.write(memory.keep_fact("accepts", "1"))
            self._say(State.STARTING)
        self.wake()

    @contextlib.asynccontextmanager
    async def looked_at(self, *, lists: bool = True) -> AsyncIterator[Seen]:
        """Both sides as they are now, while no round runs; without `lists` by a listing that is not old. Raises S3Error
        where nobody can tell."""
        async with self._busy:
            self._listed_at = -math.inf if lists else self._listed_at
            try:
                seen = await self._see()
            except OSError as error:
                raise S3Error("NoSuchFolder", f"The folder: {error.strerror}", status=409) from error
            if seen is None:
                await self.place.close()
                raise S3Error("Halted", self.reason, status=409, hint="`s3d sync status` says what to do")
            if seen.refusal:
                raise seen.refusal
            yield seen

    async def restore(self, id: str) -> str:  # noqa: A002 (it is what the trash calls it)
        """Give back what is in the trash and return its path. Raises S3Error where it is not, or its path is taken."""
        one = next((one for one in memory.trash(self.db) if one.id == id), None)
        if one is None:
            raise S3Error("NoSuchFile", "There is no such file in the trash", status=404)
        async with self._busy:
            root = self.place.root
            if root is None:
                raise S3Error("NoSuchFolder", "The folder is not there", status=409, hint="`s3d sync status` says why")
            try:
                is_back = await root.run(root.restore, one.id, one.path)
            except OSError as error:
                raise S3Error("NoSuchFile", f"It cannot be put back: {error.strerror}", status=409) from error
            if not is_back:
                raise S3Error("FileExists", "There is a file at its place", status=409, hint="move that one first")
            await self.db.write(memory.untrash(one.id))
        self.wake()
        return one.path

    async def finish(self, seconds: float) -> None:
        """The daemon ends: hand over what is not sent yet, whatever was written to just now (S-9). A round may make
        conflict copies, which the next one sends."""
        self._ends = True
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                for _ in range(MAX_LAST_ROUNDS):
                    await self.round()
                    if not self._soon:
                        break
        except TimeoutError:
            # Nobody has looked at all of it.
            self.unsent = max(1, self.unsent)
        if not self._has_looked and memory.has_base(self.db):
            # Nor at any of a folder that is not there, or is not the one that is meant.
            self.unsent = max(1, self.unsent)
        if self.unsent:
            log.warning("the sync folder %s has %d files that are not sent", self.objects.name, self.unsent)

    async def watch(self) -> None:
        """Wake up for what happens in the folder."""
        self._watch = Watch(partial(self.wake, lists=False))
        try:
            self._woken.set()
            await self._watch.run()
        finally:
            self._watch.close()

    async def follow(self, events: Follower) -> None:
        """Wake up for what somebody else writes through the gateway."""
        while True:
            self.hear(await events.take())

    def hear(self, news: Events) -> None:
        """Take what has become of objects. What was delivered is written down when a round plans: the base of an upload
        may be younger than its delivery."""
        prefix = self.objects.prefix
        ours = [one for one in news.events if one.bucket == self.objects.bucket and one.key.startswith(prefix)]
        for event in ours:
            path = event.key.removeprefix(prefix)
            if event.etag and event.why in (Why.DELIVERED, Why.THROUGH):
                self._delivered[path] = event.etag
        if news.missed or any(self._is_news(event) for event in ours):
            self.wake()

    def _is_news(self, event: Event) -> bool:
        path = event.key.removeprefix(self.objects.prefix)
        return event.etag is None or memory.etag_of(self.db, path) != event.etag

    async def _take_deliveries(self) -> None:
        if self._delivered:
            found, self._delivered = self._delivered, {}
            await self.db.write(memory.delivered(found.items()))

    def status(self) -> dict[str, Any]:
        """The folder in counts and reasons, without names of files."""
        files, alone, trashed = memory.counts(self.db)
        return {
            "name": self.objects.name,
            "state": self.state,
            "since": self.since,
            "reason": self.reason,
            "began": self.began,
            "ended": self.ended,
            "halt": self.halt or "",
            "hint": guards.HINTS[self.halt] if self.halt else "",
            "watches": self._watch is not None and not self._watch.reason,
            "files": files,
            "unsent": self.unsent,
            "left_alone": alone + len(self.odd),
            "failed": len(self.failed),
            "conflicts": self.conflicts,
            "trash": trashed,
        }

    def left_alone(self) -> list[dict[str, str]]:
        """Names that are left alone or could not be done, and why."""
        odd = [(name, "the name is not UTF-8") for name in self.odd]
        rows = [*self.failed.items(), *odd, *memory.left_alone(self.db, MAX_SHOWN)]
        return [{"path": path, "reason": reason} for path, reason in rows]

    def trash(self) -> list[dict[str, Any]]:
        """What is in the trash."""
        kept = [(one, self._clock.wall_of(one.at)) for one in memory.trash(self.db)]
        return [{"id": one.id, "path": one.path, "size": one.size, "at": at} for one, at in kept]

    def _measure(self) -> None:
        files, alone, _ = memory.counts(self.db)
        name = self.objects.name
        self._metrics.sync_files.labels(name).set(files)
        self._metrics.sync_left_alone.labels(name).set(alone)
        self._metrics.sync_unsent.labels(name).set(self.unsent)
        self._metrics.sync_halted.labels(name).set(self.state is State.HALTED)

    async def aclose(self) -> None:
        """Let go of the folder, once no round runs."""
        async with self._busy:
            with contextlib.suppress(StoreFailed):
                # Of what the end of the daemon has delivered.
                await self._take_deliveries()
            await self.place.close()


def _unmark(path: Path) -> None:
    root = Root(path)
    try:
        root.unmark()
    finally:
        root.close()


def _unsent(actions: Iterable[Action]) -> int:
    return sum(action.do in (Do.PUSH, Do.DROP_THERE) for action in actions)
