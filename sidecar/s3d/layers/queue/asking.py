"""Asks the policy about what is queued, beside all requests (SEMANTICS F-3).

A change is queued as one that nobody was asked about, and no such change is claimed (rows/verdicts.py). Here they are
asked about in batches, oldest first, and what comes of a batch is one transaction. Where there was no decision, it is
asked again after a rest; what the policy holds is asked about once a minute, since nobody tells us that it has changed.

While nobody answers, one question at a time finds out when somebody does again, and what waits is treated as asked, a
few changes at a time.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import apsw

from s3d import config, documents
from s3d.clock import Clock
from s3d.errors import ConfigError
from s3d.layers.queue.judging import Origin
from s3d.layers.queue.rows import verdicts
from s3d.layers.queue.rows.verdicts import Asked
from s3d.policy import Answer, Ask, Verdict
from s3d.settings import Opa, Settings
from s3d.settings.section import reloads, setting_name
from s3d.store.db import Database
from s3d.store.failures import StoreFailed, StoreFull

log = logging.getLogger(__name__)

MAX_BATCH = 64
"""Changes that are asked about together."""
MAX_CONCURRENT = 16
"""Questions that are under way at once."""
MAX_HELD_AT_ONCE, HOLD_PAUSE = 16, 0.01
"""Changes that are held together while nobody answers, and seconds until the next ones: the commit of a request waits
for that of these. However many wait, they take a small part of what requests take."""
RETRY_INTERVAL = 1.0
"""Seconds between two tries while there is no decision, and between two looks at the settings."""
REST_SHARE = 4
"""A look at all that there was no decision of rests for so many times its length."""
DENIED_INTERVAL = 60.0
"""Seconds between two looks at what the policy holds."""


OF_THE_CACHE = {"cache_path", "fail_cache"}
VARIABLES = {
    setting_name(field): name for name, field in Opa.model_fields.items() if reloads(field) and name not in OF_THE_CACHE
}
"""The settings that say which policy is asked what may leave, and how: another one is asked about everything again."""
Told = Callable[[str], None]


def text_of(settings: Opa) -> str:
    """The policy of the settings, as a JSON object of them; "" for none."""
    said = {variable: getattr(settings, name) for variable, name in VARIABLES.items()}
    return json.dumps(said) if settings.url else ""


class Given(NamedTuple):
    """What came of a question."""

    asked: Asked
    answer: Answer


class Look:
    """A look at all changes of a kind, a batch at a time, again and again."""

    def __init__(self, some: Callable[[Database, int, int], list[Asked]], rest: float) -> None:
        """Take what gives the next ones behind a seq, and how long a look rests at least."""
        self._some = some
        self._rest = rest
        self._behind = 0
        self._began = self.due_at = time.monotonic()

    def batch(self, db: Database) -> list[Asked]:
        """The next ones, none where it is not time, or the look is over."""
        now = time.monotonic()
        if now < self.due_at:
            return []
        if not self._behind:
            self._began = now
        found = self._some(db, self._behind, MAX_BATCH)
        if found:
            self._behind = found[-1].seq
        else:
            self._behind = 0
            self.due_at = now + max(self._rest, REST_SHARE * (now - self._began))
        return found

    def restart(self) -> None:
        """Begin anew, at once."""
        self._behind, self.due_at = 0, time.monotonic()


class Asking:
    """Asks until cancelled."""

    def __init__(self, db: Database, clock: Clock, settings: Settings, ask: Ask | None, told: Told) -> None:
        """Take whom to ask, None for nobody, and what is called with a bucket when what waits in it was judged."""
        self._db = db
        self._clock = clock
        self._settings = settings
        self._ask = ask
        self._told = told
        self._woken = asyncio.Event()
        self._undecided = Look(verdicts.undecided, RETRY_INTERVAL)
        self._denied = Look(verdicts.denied, DENIED_INTERVAL)
        self._silence: Answer | None = None
        """What came of the latest questions, where nobody has answered."""
        self._is_back = False
        """Whether somebody answers again, and what is held for want of a decision is asked about before all else."""
        self._probe_at = 0.0
        self._probed = 0

    def wake(self) -> None:
        """Say that there may be something to ask about, where anybody is to be asked."""
        if self._ask is not None and self._settings.opa.url:
            self._woken.set()

    @property
    def wanted(self) -> str:
        """The policy of the settings, as text: another one is asked about everything again."""
        return text_of(self._settings.opa) if self._ask else ""

    async def begin(self, origin: Origin) -> None:
        """Put the policy in force that a start goes on with, before anything is queued or claimed. Raises StoreFailed.

        The one that was in force stays where nobody can say another, as the push filter does (judging.py).
        """
        last = verdicts.in_force(self._db)
        may_stay = origin.refused or verdicts.at_start(self._db) == origin.policy
        if last and may_stay and not {*VARIABLES} & {*origin.said} and last != self.wanted:
            log.warning("the settings do not say which policy is asked: the last one stays in force: %s", last)
            with suppress(ConfigError, ValueError):
                config.reload(self._settings, documents.parse(last))
        with suppress(StoreFull):  # the look is made again while s3d serves
            await self._db.write(verdicts.adopt(self.wanted, None if origin.refused else origin.policy))

    async def watch(self) -> None:
        """Put the policy of the settings in force, ask about what is not asked yet, and rest."""
        self._woken.clear()
        try:
            if self.wanted != verdicts.in_force(self._db):
                await self._db.write(verdicts.adopt(self.wanted))
                log.info("the policy is another one: what waits is asked about anew")
            if self.wanted:
                await self._round()
                if self._silence is not None:
                    await self._rest_in_silence(self._silence)
            else:
                self._silence = None
        except StoreFailed as error:
            log.error("what the policy says cannot be kept: %s", error)
            await asyncio.sleep(RETRY_INTERVAL)
        if self._silence is not None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_INTERVAL):
                await self._woken.wait()

    async def _round(self) -> None:
        """Ask until nothing is left that it is time for, or nobody answers."""
        while True:
            batch = self._next() if self._silence is None else []
            is_probe = not batch
            batch = batch or self._probes()
            if not batch:
                return
            given = await self._answers(batch)
            silence = None if any(one.answer.is_reached for one in given) else given[-1].answer
            if not is_probe:
                await self._keep(given)
            elif any(one.answer.verdict is not Verdict.NONE for one in given):
                # They are asked about once more in their turn, so that the oldest leaves first.
                self._is_back = self._is_back or self._silence is not None
                self._undecided.restart()
                self._denied.restart()
            self._note(silence)
            if silence is not None:
                return

    def _next(self) -> list[Asked]:
        """What is to be asked about next."""
        if self._is_back:
            # What was queued during the silence, and is not held yet, has its place behind them.
            found = self._undecided.batch(self._db)
            self._is_back = bool(found)
            if found:
                return found
        found = verdicts.unasked(self._db, 0, MAX_BATCH) or verdicts.denied_anew(self._db, MAX_BATCH)
        return found or self._undecided.batch(self._db) or self._denied.batch(self._db)

    def _probes(self) -> list[Asked]:
        """A few changes of which there is no decision, others each time: they tell whether there are decisions again
        long before it is time to ask about all of them. In silence it is one, since one answer ends it."""
        now = time.monotonic()
        if now < self._probe_at:
            return []
        self._probe_at = now + RETRY_INTERVAL
        is_silent = self._silence is not None
        few = 1 if is_silent else MAX_CONCURRENT
        found = verdicts.undecided(self._db, self._probed, few) or verdicts.undecided(self._db, 0, few)
        if is_silent and not found:
            found = verdicts.unasked(self._db, self._probed, few) or verdicts.unasked(self._db, 0, few)
        self._probed = found[-1].seq if found else 0
        if is_silent and not found:
            self._note(None)
        return found

    async def _answers(self, batch: list[Asked]) -> list[Given]:
        """Ask side by side. Where the first ones all stay unanswered, the others are not asked."""
        given: list[Given] = []

        async def work(todo: Iterator[Asked]) -> None:
            assert self._ask is not None
            for asked in todo:
                answer = given[-1].answer if _is_vain(given) else await self._ask(asked.question)
                given.append(Given(asked, answer))

        todo = iter(batch)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(MAX_CONCURRENT, len(batch))):
                tasks.create_task(work(todo))
        return sorted(given, key=lambda one: one.asked.seq)

    async def _keep(self, given: list[Given]) -> None:
        """Note verdicts in one transaction, and tell whom it concerns."""
        is_open, now = self._settings.opa.fail_upload == "open", self._clock.now()

        def write(db: apsw.Connection) -> list[Given]:
            return [one for one in given if verdicts.give(db, *one, is_open=is_open, now=now)]

        moved = await self._db.write(write)
        for asked, answer in moved:
            _say(asked, answer, is_open=is_open)
        for bucket in {one.asked.bucket for one in moved}:
            self._told(bucket)

    async def _rest_in_silence(self, answer: Answer) -> None:
        """Rest until it is time to try again, and treat what waits as asked meanwhile, the oldest first. What there is
        no time for is left to the next rest: it is not judged, and does not leave."""
        is_open = self._settings.opa.fail_upload == "open"
        until, given_up, is_full = time.monotonic() + RETRY_INTERVAL, 0, True
        while (now := time.monotonic()) < until:
            if is_full and verdicts.unasked(self._db, 0, 1):
                some = await self._db.write(
                    lambda db: verdicts.give_up(db, answer, MAX_HELD_AT_ONCE, is_open=is_open), short=True
                )
                given_up += len(some)
                for bucket in set(some):
                    self._told(bucket)
                is_full = len(some) == MAX_HELD_AT_ONCE
            else:
                is_full = False
            await asyncio.sleep(min(HOLD_PAUSE, until - now) if is_full else until - now)
        if given_up:
            becomes = "leave" if is_open else "are held"
            log.warning("%d changes %s without a decision of the policy: %s", given_up, becomes, answer.why)

    def _note(self, silence: Answer | None) -> None:
        """Note whether somebody answers."""
        if self._silence is None and silence is not None:
            log.error("the policy does not answer, and there is no decision about what waits")
        elif silence is None and self._silence is not None:
            log.info("the policy answers again")
        self._silence = silence


def _is_vain(given: list[Given]) -> bool:
    return len(given) >= MAX_CONCURRENT and not any(one.answer.is_reached for one in given)


def _say(asked: Asked, answer: Answer, *, is_open: bool) -> None:
    """Log a verdict with the decision's id, by which its reasons are found where the policy is."""
    what = f"{asked.op} of {asked.bucket}/{asked.key} (change {asked.seq})"
    if answer.verdict is Verdict.ALLOW:
        log.debug("%s may leave, decision %s", what, answer.decision)
    elif answer.verdict is Verdict.DENY:
        log.warning("%s is held by the policy, decision %s", what, answer.decision)
    else:
        becomes = "leaves" if is_open else "is held"
        log.warning("%s %s without a decision of the policy: %s", what, becomes, answer.why)
