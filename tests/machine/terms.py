"""Steps of what parts of s3d write: moves, writes that expect something, and writes that park in a conflict."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from s3d.api import Terms
from s3d.errors import S3Error
from tests.callers import Answer, ask
from tests.machine.answers import away
from tests.machine.kept import Kept
from tests.machine.world import CONTENTS, NAMES, bodies, keys
from tests.model import Wrong, md5, thing

OTHER = "0" * 32
"""The ETag of no object here."""


@dataclass(frozen=True, slots=True)
class Following:
    """A delete that must come after a put of another key."""

    target: str
    since: int
    """How much had passed to the remote when the put was made."""
    times: int
    """How often the key had been written when its delete was acknowledged: a further write takes its place."""


class Termed(Kept):
    """What has terms."""

    def __init__(self) -> None:
        super().__init__()
        self.following: dict[str, Following] = {}

    @rule(source=keys, further=st.integers(1, len(NAMES) - 1), body=bodies, refused=st.booleans())
    def move(self, source: str, further: int, body: str, refused: bool) -> None:
        """An object gets another name: its bytes are put there, and it is deleted here; the put may need two tries."""
        target = NAMES[(NAMES.index(source) + further) % len(NAMES)]
        self.step("move")
        if refused:
            self.onion.flaky.fate_of[target] = "SlowDown 503"
        # A delete that is under way may pass meanwhile, and is not this one.
        told_apart = not self.pending(source)
        since, data = len(self.onion.journal.passed), CONTENTS[body]
        self.put_bytes(target, data, "")
        answer = self.client("DeleteObject", source, terms=Terms(after=(self.bucket, target, md5(data))))
        if isinstance(answer, S3Error) and (answer.status == 412 or away(answer)):
            return
        if not isinstance(answer, Answer):
            raise Wrong(f"a move of {source!r} to {target!r} is refused: {answer}")
        self.model.put(source, None)
        if told_apart:
            self.following[source] = Following(target, since, self.model.times[source])

    @invariant()
    def no_object_is_gone_before_it_is_there(self) -> None:
        """A delete that follows a put reaches the remote behind it, or behind what took its place (Q-21)."""
        for source, one in list(self.following.items()):
            if self.model.times.get(source) != one.times:
                del self.following[source]
                continue
            for operation, key, _, fate in self.onion.journal.passed[one.since :]:
                if fate == "applied" and key == one.target:
                    del self.following[source]
                    break
                if fate == "applied" and (operation, key) == ("DeleteObject", source):
                    raise Wrong(f"{source!r} is deleted before {one.target!r} is there")

    def content_pending(self, key: str) -> bool:
        """Whether an object or a delete is pending of a key."""
        changes = self.onion.queue.object_status(self.bucket, key)["changes"]
        return any(one["op"] in ("put", "delete", "complete") and one["state"] != "superseded" for one in changes)

    @rule(key=keys, body=bodies, right=st.booleans())
    def expect(self, key: str, body: str, right: bool) -> None:
        """A write is made upon what its maker saw, or upon something else: that one takes no place (Q-2b)."""
        self.step("expectation")
        if not right:
            # So that what is there is pending.
            self.onion.flaky.stalled = True
            self.put_bytes(key, CONTENTS["short"], "")
        known = next(iter(self.model.states(key)))
        expects = (known.etag if known else "") if right else OTHER
        pending, number = self.content_pending(key), self.number()
        terms = Terms(expects=expects, conflict="Overwrite")
        answer = self.client("PutObject", key, CONTENTS[body], terms=terms, Metadata={"n": number})
        if isinstance(answer, Answer):
            if pending and not right:
                raise Wrong(f"a put of {key!r} takes the place of what its maker has not seen")
            self.model.put(key, thing(CONTENTS[body], number))
        elif self.fate == "applied":
            self.model.put(key, thing(CONTENTS[body], number))
        elif self.fate == "unsure" and answer.status != 412:
            self.model.doubt(key, thing(CONTENTS[body], number))
        elif answer.status != 412 and not away(answer) and not self.held:
            raise Wrong(f"a put of {key!r} that expects {expects!r} is refused: {answer}")
        if not right:
            self.onion.flaky.release()

    @rule(key=keys, upon=st.booleans())
    def park(self, key: str, upon: bool) -> None:
        """Somebody else writes a key before what is always compared is pushed: both are kept (Q-18b), also when
        something is made upon what is kept (Q-2c)."""
        self.deliver(key)
        states = self.model.states(key)
        if self.held or self.pending(key) or len(states) > 1 or self.onion.expects_anything(key):
            return
        self.step("conflict")
        before, number, foreign = next(iter(states)), self.number(), self.number()
        named: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "Metadata": {"n": foreign}}
        self.onion.run(ask(self.remote, "PutObject", named, b"foreign", headers={"User-Agent": ""}))
        self.onion.journal.passed.append(("PutObject", key, "foreign", "applied"))
        self.model.overwrite(key, thing(b"foreign", foreign))
        terms = Terms(expects=before.etag if before else "", conflict="Park")
        answer = self.client("PutObject", key, b"of the sync", terms=terms, Metadata={"n": number})
        if not isinstance(answer, Answer):
            return
        self.model.put(key, thing(b"of the sync", number))
        self.conflicts.add(key)
        # It is kept back: a write of anybody's takes its place (Q-2a).
        self.newest.pop(key, None)
        self.deliver(key)
        if upon:
            terms = Terms(expects=md5(b"of the sync"), conflict="Park")
            newer = self.client("PutObject", key, b"upon it", terms=terms, Metadata={"n": self.number()})
            if isinstance(newer, Answer):
                raise Wrong(f"a put of {key!r} replaces what its maker has not seen")
        there = self.onion.run(self._at_remote(key))
        if there is None or there.number != foreign:
            raise Wrong(f"what somebody else wrote to {key!r} is overwritten")
