"""Asks the policy about a write that is not queued, before a byte of it leaves (SEMANTICS F-3, Q-11a).

What is queued is asked about later, and by nobody who waits (asking.py).
"""

import asyncio
import itertools
import logging
from collections.abc import Iterable

from s3d.errors import S3Error
from s3d.layers.queue.rows import holds, verdicts
from s3d.layers.queue.rows.holds import Held
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rows.subjects import Content
from s3d.layers.queue.rows.uploads import Upload
from s3d.layers.queue.rules import decide
from s3d.policy import Ask, Verdict
from s3d.settings import Opa
from s3d.store.db import Database

log = logging.getLogger(__name__)

MAX_CONCURRENT = 16
"""Questions of one request that are under way at once."""


class Consent:
    """The policy, for those who cannot go on without its answer."""

    def __init__(self, db: Database, settings: Opa, ask: Ask | None) -> None:
        """Take whom to ask, None for nobody."""
        self._db = db
        self._settings = settings
        self._ask = ask

    @property
    def is_asked_for(self) -> bool:
        """Whether there is a policy."""
        return self._ask is not None and bool(self._settings.url)

    async def refusal(self, writes: Iterable[Held]) -> str | S3Error:
        """Why writes may not leave: the policy, in words; an error where there is no decision; "" where they may."""
        rest = iter(writes)
        while some := list(itertools.islice(rest, MAX_CONCURRENT)):
            for found in await asyncio.gather(*map(self._refusal, some)):
                if found:
                    return found
        return ""

    async def _refusal(self, held: Held) -> str | S3Error:
        if self._ask is None or not self._settings.url:
            return ""
        answer = await self._ask(verdicts.question_of(held))
        what = f"{held.op} of {held.bucket}/{held.key}"
        if answer.verdict is Verdict.ALLOW:
            return ""
        if answer.verdict is Verdict.DENY:
            log.warning("%s, which cannot be queued, is refused by the policy, decision %s", what, answer.decision)
            return verdicts.rule_of(answer)
        if self._settings.fail_upload == "open":
            log.warning("%s leaves without a decision of the policy: %s", what, answer.why)
            return ""
        log.warning("%s, which cannot be queued, is refused without a decision of the policy: %s", what, answer.why)
        return decide.undecided(answer.why)

    async def check_upload(self, upload: Upload) -> None:
        """Refuse that an open upload goes to the remote. Raises S3Error."""
        found = await self.refusal([of_upload(upload)])
        if isinstance(found, S3Error):
            raise found
        if found:
            raise decide.forbidden(found, "it spills")


def of_upload(upload: Upload) -> Held:
    """What is asked about an open upload, whose size nobody knows yet."""
    return Held(upload.bucket, upload.key, upload.identity, Op.COMPLETE, Content(upload.members))


def is_told(db: Database) -> bool:
    """Whether what an upload begins with is to be remembered for the questions about its parts."""
    return bool(holds.filter_text(db)) or bool(verdicts.in_force(db))
