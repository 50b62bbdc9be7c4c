"""Steps of a gateway that has a read cache, and what its answers owe to whoever reads (SEMANTICS, section C)."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import rule

from s3d.errors import S3Error
from tests.callers import Answer
from tests.fakes.flaky import Gate
from tests.machine.faults import Faults
from tests.machine.world import CONTENTS, IDENTITIES, bodies, fresh, keys, usually
from tests.model import Wrong
from tests.onion import REVOKED


class Caching(Faults):
    """What is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.given: set[tuple[str, str]] = set()
        """Keys, and identities that the remote has given them to."""

    def judge_source(self, operation: str, key: str, answer: Answer | S3Error) -> None:
        """What the remote was not asked for is given to whom it has given it, and only where the settings say so."""
        one, limits = (key, self.who), self.onion.limits
        if isinstance(answer, S3Error):
            if operation == "GetObject" and (answer is REVOKED or answer.status in (403, 404)):
                self.given.discard(one)
            return
        how = answer.headers.get("x-cache", "")
        self.world.answered[how.lower()] += 1
        if how in ("HIT", "STALE"):
            if one not in self.given:
                raise Wrong(f"{key!r} is {how} for {self.who!r}, whom the remote has not given it")
            if how == "HIT" and not limits.fresh_for:
                raise Wrong(f"{key!r} is {how}, and nothing is fresh unasked")
            if how == "STALE" and not (limits.max_stale and self.onion.flaky.away):
                raise Wrong(f"{key!r} is {how}, and the remote can be asked, or nothing may be stale")
        elif how and operation == "GetObject":
            self.given.add(one)
            # What was cached of it is this version, or nothing.
            self.model.past.pop(key, None)

    def readers(self) -> tuple[str, ...]:
        """Who may read."""
        return IDENTITIES if self.chance else IDENTITIES[:1]

    def put_and_deliver(self, key: str, body: str) -> None:
        """An object is there, and nothing hinders what comes."""
        self.deliver(key)
        if self.held:
            self.tag_bucket(False)
        self.put_bytes(key, CONTENTS[body], "")
        self.onion.run(self.onion.quiet(self.bucket, key))

    def warm(self, key: str, body: str) -> None:
        """An object is there, and somebody has read it."""
        self.put_and_deliver(key, body)
        self.get(key)

    @rule(key=keys, body=fresh, unasked=st.booleans())
    def read_twice(self, key: str, body: str, unasked: bool) -> None:
        """What was read is read again, while answers without asking are allowed or not."""
        self.warm(key, body)
        self.onion.reload({"S3D_READ_CACHE_FRESH_FOR": 60.0 if unasked else 0.0})
        self.get_by(key, self.who)
        self.head(key)
        self.onion.reload({"S3D_READ_CACHE_FRESH_FOR": 0.0})

    @rule(key=keys, body=fresh, stale=usually)
    def read_warm_while_away(self, key: str, body: str, stale: bool) -> None:
        """The same while the remote is away, and stale answers are allowed or not."""
        self.warm(key, body)
        self.onion.reload({"S3D_READ_CACHE_MAX_STALE": 60.0 if stale else 0.0})
        self.read_while_away(key)
        self.onion.reload({"S3D_READ_CACHE_MAX_STALE": 60.0})

    @rule(key=keys)
    def read_while_away(self, key: str) -> None:
        self.onion.flaky.leave()
        for reader in self.readers():
            self.get_by(key, reader)
        self.head(key)
        self.onion.flaky.come_back()

    @rule(key=keys, body=bodies, gone=st.booleans(), away=st.booleans())
    def read_what_is_overwritten(self, key: str, body: str, gone: bool, away: bool) -> None:
        """What is cached is overwritten by somebody else: the next read shows it, or is stale."""
        self.step("overwritten")
        self.warm(key, "file")
        self.foreign(key, body, gone)
        if away:
            self.read_while_away(key)
        self.get_by(key, self.who)

    @rule(key=keys, body=fresh, tagged=st.booleans())
    def write_while_it_is_read(self, key: str, body: str, tagged: bool) -> None:
        """A key is changed between the first byte of a read and its last: nothing of what was read is kept (C-9)."""
        self.step("overtaken fill")
        self.put_and_deliver(key, body)
        self.foreign(key, "same", False)
        gate = self.onion.flaky.gate = Gate()
        reader = self.who
        reading = self.onion.begin("GetObject", {"Bucket": self.bucket, "Key": key}, reader)
        self.onion.run(self._either(reading, gate.reached))
        if tagged:
            self.tag_with(key, (("t", "1"),))
        else:
            self.delete(key)
        self.onion.run(self.onion.quiet(self.bucket, key))
        gate.opened.set()
        self.onion.flaky.gate = None
        self.onion.run(self.onion.end_of(reading))
        self.onion.run(self.onion.filled())
        # It may have come after the change.
        self.given.add((key, reader))
        self.read_while_away(key)

    @rule(key=keys, body=fresh, power_cut=st.booleans())
    def delete_and_crash(self, key: str, body: str, power_cut: bool) -> None:
        """What was dropped for a change is not there again after a crash (C-9)."""
        self.step("gone and crashed")
        self.put_and_deliver(key, body)
        self.foreign(key, "same", False)
        self.get(key)
        reader = self.who
        self.onion.run(self.onion.filled())
        self.delete(key)
        self.onion.run(self.onion.quiet(self.bucket, key))
        self.crash(power_cut, False)
        self.onion.flaky.leave()
        self.get_by(key, reader)
        self.onion.flaky.come_back()

    async def _either(self, reading: asyncio.Task[Answer], reached: asyncio.Event) -> None:
        """Wait until a read has come to the bytes, or has ended without."""
        waiting = asyncio.ensure_future(reached.wait())
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
